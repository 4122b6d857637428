import type { Instruction } from '../step/instruction.js';
import { startName } from '../step/instruction-text.js';
import type { Pass } from '../step/program.js';

type Reduction = Instruction<'reduce' | 'scatter'>;

/**
 * Bounds how many reductions are on their way at once, and with them the memory of their messages and of gradients
 * that wait to be released: where one more starts, the oldest is waited for first. Moves waits, and the releases
 * behind them, only to an earlier place.
 *
 * @param most 0: each reduction is waited for as soon as it has started
 */
export function limitInFlight(most: number): Pass {
  return (program) => {
    const endings = endingsOf(program.instructions);
    const inFlight: Reduction[] = [];
    const done = new Set<Instruction>();
    const finish = (remaining: number): readonly Instruction[] =>
      inFlight.splice(0, Math.max(0, inFlight.length - remaining)).flatMap((started) => {
        const ending = endings.get(startName(started)) ?? [];
        for (const instruction of ending) done.add(instruction);
        return ending;
      });
    const instructions = program.instructions.flatMap((instruction): readonly Instruction[] => {
      if (done.has(instruction)) return [];
      if (instruction.op === 'wait') {
        const name = startName(instruction.started);
        const index = inFlight.findIndex((started) => startName(started) === name);
        if (index !== -1) inFlight.splice(index, 1);
      }
      if (instruction.op !== 'reduce' && instruction.op !== 'scatter') return [instruction];
      const before = finish(Math.max(0, most - 1));
      inFlight.push(instruction);
      return [...before, instruction, ...(most === 0 ? finish(0) : [])];
    });
    return { ...program, instructions };
  };
}

/** The wait for each reduction, with the release of gradients that follows it. */
function endingsOf(instructions: readonly Instruction[]): ReadonlyMap<string, readonly Instruction[]> {
  const endings = new Map<string, readonly Instruction[]>();
  for (const [position, instruction] of instructions.entries()) {
    if (instruction.op !== 'wait') continue;
    const next = instructions[position + 1];
    const isRelease = next?.op === 'release' && next.memory === 'gradients';
    endings.set(startName(instruction.started), isRelease ? [instruction, next] : [instruction]);
  }
  return endings;
}
