import { tensor } from '../tensor/create.js';
import { scope } from '../tensor/tensor.js';
import type { ProcessGroup } from './process-group.js';

/** How long something takes on this rank, in seconds. */
export function seconds(body: () => void): number {
  const startedMs = performance.now();
  body();
  return (performance.now() - startedMs) / 1000;
}

/** Of each time the longest on any rank. */
export function longest(transport: ProcessGroup, times: readonly number[]): readonly number[] {
  return scope(() => {
    const most = tensor(Float64Array.from(times));
    transport.allReduce(most, 'max').wait();
    return [...most.toArray()];
  });
}

/** How long something that all ranks do takes on the slowest of them, in seconds. */
export function slowest(transport: ProcessGroup, body: () => void): number {
  return longest(transport, [seconds(body)])[0] ?? Number.NaN;
}

/** The means of what the ranks measured: one that was early has waited, and one that was late has not. */
export function meansOverRanks(transport: ProcessGroup, times: readonly number[]): readonly number[] {
  return scope(() => {
    const means = tensor(Float64Array.from(times));
    transport.allReduce(means, 'mean').wait();
    return [...means.toArray()];
  });
}

/** How often something is measured. */
export interface TurnLimits {
  /** What all turns are to take together, on the slowest rank. */
  readonly seconds: number;
  /** By what the first one took. */
  readonly least: (first: number) => number;
  readonly most: number;
}

/** Takes turns, as many as there is time for by what the first one took; equally many on all ranks. */
export function inTurns<Result>(
  transport: ProcessGroup,
  turn: () => Result,
  { seconds: limit, least, most }: TurnLimits,
): readonly Result[] {
  const results: Result[] = [];
  const first = slowest(transport, () => void results.push(turn()));
  const turns = Math.max(least(first), Math.min(most, Math.floor(limit / first)));
  while (results.length < turns) results.push(turn());
  return results;
}
