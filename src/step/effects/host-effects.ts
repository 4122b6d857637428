import type { EffectTable } from '../effects.js';
import { type Offloaded, startName } from '../instruction.js';
import type { Program } from '../program.js';
import { output, outputOnHost } from './value-names.js';

/** What instructions do that move values between a device and its host. In between a value is under another name. */
export const hostEffects: Pick<EffectTable, 'evict' | 'fetch'> = {
  evict: (instruction, program) => {
    const { block, micro } = instruction;
    const bytes = bytesOf(instruction, program);
    return {
      reads: [output(block, micro)],
      makes: [{ value: outputOnHost(block, micro), memory: { account: 'host', bytes } }],
      frees: [output(block, micro)],
      starts: startName(instruction),
      copy: { to: 'host', bytes },
    };
  },

  fetch: (instruction, program) => {
    const { block, micro } = instruction;
    const bytes = bytesOf(instruction, program);
    return {
      reads: [outputOnHost(block, micro)],
      makes: [{ value: output(block, micro), memory: { account: 'activations', bytes } }],
      frees: [outputOnHost(block, micro)],
      starts: startName(instruction),
      copy: { to: 'device', bytes },
    };
  },
};

function bytesOf({ block }: Offloaded, program: Program): number {
  return program.blocks[block]?.outputBytes ?? 0;
}
