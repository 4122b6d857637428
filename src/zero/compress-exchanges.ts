import type { ActiveCompression } from '../comm/config.js';
import type { Instruction } from '../step/instruction.js';
import type { Pass, Program } from '../step/program.js';

type Exchange = Instruction<'reduce' | 'scatter' | 'sum' | 'gather'>;

/** How exchanges of some kinds travel. */
export interface CompressedExchanges {
  readonly kinds: readonly Exchange['op'][];
  readonly compression: ActiveCompression;
  /** Only what one host says to another; of scatters alone. */
  readonly betweenHosts?: true;
}

/** Says of every exchange of the kinds, and of the wait for it, how it travels, whichever pass put it there. */
export function compressExchanges({ kinds, ...how }: CompressedExchanges, feature: string): Pass {
  const isOfKind = (instruction: Instruction): instruction is Exchange =>
    kinds.some((kind) => kind === instruction.op);
  const compressed = (instruction: Instruction): Instruction => {
    if (isOfKind(instruction)) return { ...instruction, ...how };
    if (instruction.op !== 'wait' || !isOfKind(instruction.started)) return instruction;
    return { ...instruction, started: { ...instruction.started, ...how } };
  };
  return (program: Program) =>
    program.instructions.some(isOfKind)
      ? {
          ...program,
          instructions: program.instructions.map(compressed),
          features: [...program.features, feature],
        }
      : program;
}
