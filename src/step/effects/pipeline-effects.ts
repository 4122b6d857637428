import type { Handed, Instruction } from '../instruction.js';
import { startName } from '../instruction-text.js';
import type { Program } from '../program.js';
import type { EffectTable, Message } from './effect-table.js';
import { batch, output, outputGradient } from './value-names.js';

/** What instructions do in which stages of a pipeline hand values to each other. */
export const pipelineEffects: Pick<EffectTable, 'send' | 'receive'> = {
  // An output is still needed, by its own backward; a gradient is not.
  send: (instruction, program) => ({
    reads: [handedValue(instruction)],
    makes: [],
    frees: instruction.memory === 'gradient' ? [handedValue(instruction)] : [],
    starts: startName(instruction),
    message: messageOf(instruction, program),
  }),

  // The batch says how large it will be.
  receive: (instruction, program) => ({
    reads: [batch(instruction.micro)],
    makes: [
      {
        value: handedValue(instruction),
        memory: { account: 'activations', bytes: bytesOf(instruction, program) },
      },
    ],
    frees: [],
    starts: startName(instruction),
    message: messageOf(instruction, program),
  }),
};

function handedValue({ memory, block, micro }: Handed): string {
  return memory === 'output' ? output(block, micro) : outputGradient(block, micro);
}

function messageOf(instruction: Instruction<'send' | 'receive'>, program: Program): Message {
  const { op: direction, peer } = instruction;
  return { direction, peer, subject: handedValue(instruction), bytes: bytesOf(instruction, program) };
}

function bytesOf({ block }: Handed, program: Program): number {
  return program.blocks[block]?.outputBytes ?? 0;
}
