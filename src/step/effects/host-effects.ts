import type {
  EvictedGradients,
  FetchedGradients,
  FetchedParameters,
  Instruction,
  MovedOutput,
} from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import { ownElements, rangeElements, requiredScatters } from '../sharding.js';
import type { Effects, EffectTable } from './effect-table.js';
import {
  blockGradients,
  blockMemory,
  cleared,
  earlierGradients,
  evictedGradients,
  fetchedParameters,
  output,
  outputOnHost,
  scattered,
  weightsToUse,
} from './value-names.js';

/** What instructions do that move values between a device and another tier. */
export const hostEffects: Pick<EffectTable, 'evict' | 'fetch'> = {
  evict: (instruction, program) =>
    instruction.memory === 'output'
      ? evictOutput(instruction, program)
      : evictGradients(instruction, program),

  fetch: (instruction, program) => {
    switch (instruction.memory) {
      case 'output':
        return fetchOutput(instruction, program);
      case 'parameters':
        return fetchParameters(instruction, program);
      case 'gradients':
        return fetchGradients(instruction, program);
      default:
        return instruction satisfies never;
    }
  },
};

/** On the host a value is under another name. */
function evictOutput(instruction: Instruction<'evict'> & MovedOutput, program: Program): Effects {
  const { block, micro } = instruction;
  const bytes = outputBytes(instruction, program);
  return {
    reads: [output(block, micro)],
    makes: [{ value: outputOnHost(block, micro), memory: { account: 'host', bytes } }],
    frees: [output(block, micro)],
    starts: startName(instruction),
    copy: { to: 'host', bytes },
  };
}

function fetchOutput(instruction: Instruction<'fetch'> & MovedOutput, program: Program): Effects {
  const { block, micro } = instruction;
  const bytes = outputBytes(instruction, program);
  return {
    reads: [outputOnHost(block, micro)],
    makes: [{ value: output(block, micro), memory: { account: 'activations', bytes } }],
    frees: [outputOnHost(block, micro)],
    starts: startName(instruction),
    copy: { to: 'device', bytes },
  };
}

function outputBytes({ block }: MovedOutput, program: Program): number {
  return program.blocks[block]?.outputBytes ?? 0;
}

/** The own slice, in the memory of the whole block. */
function fetchParameters(instruction: Instruction<'fetch'> & FetchedParameters, program: Program): Effects {
  const { block } = instruction;
  const { sharding, offload, precision, bytesPerElement } = program;
  const elementBytes = precision?.bytesPerElement ?? bytesPerElement;
  const bytes = sharding === undefined ? 0 : rangeElements(sharding, block) * elementBytes;
  return {
    reads: weightsToUse(block, program),
    makes: [{ value: fetchedParameters(block), memory: { account: 'gathered', bytes, pool: 'blocks' } }],
    frees: [],
    starts: startName(instruction),
    copy: {
      to: 'device',
      from: offload?.parameters?.tier ?? 'host',
      bytes: ownElements(block, program) * elementBytes,
    },
  };
}

/** What the ranks have summed into the own slice, once all of its parts are there. */
function evictGradients(instruction: Instruction<'evict'> & EvictedGradients, program: Program): Effects {
  const { block, micro, adds = false } = instruction;
  const scatters = requiredScatters(program).filter(
    (each) => each.micro === micro && program.sharding?.parts[each.part]?.block === block,
  );
  return {
    reads: [
      blockGradients(block, micro),
      ...scatters.map(scattered),
      ...(adds ? [earlierGradients(block)] : []),
    ],
    makes: [{ value: evictedGradients(block, micro) }],
    frees: adds ? [earlierGradients(block)] : [],
    starts: startName(instruction),
    copy: {
      to: program.offload?.gradients?.tier ?? 'host',
      bytes: ownElements(block, program) * program.bytesPerElement,
    },
  };
}

/** Beside the memory of the block, or as what that begins with. */
function fetchGradients(instruction: Instruction<'fetch'> & FetchedGradients, program: Program): Effects {
  const { block, micro, continues = false } = instruction;
  const bytes = ownElements(block, program) * program.bytesPerElement;
  return {
    reads: [evictedGradients(block, micro - 1), ...(continues ? [cleared] : [])],
    makes: continues
      ? [
          { value: blockMemory(block), memory: { account: 'gradients', bytes, pool: 'blocks' } },
          { value: blockGradients(block, micro) },
        ]
      : [{ value: earlierGradients(block), memory: { account: 'gradients', bytes } }],
    frees: [],
    starts: startName(instruction),
    copy: { to: 'device', from: program.offload?.gradients?.tier ?? 'host', bytes },
  };
}
