import assert from 'node:assert/strict';
import { TrainyardError } from '../../src/base/errors.js';
import { chanceOf } from '../store-simulated-disk.js';
import { guardReads } from './guard-reads.js';

/** Makes inputs of one kind, and gives them to whoever reads such. */
export interface Fuzzer {
  /** What the errors may be that refuse an input: anything else that is thrown is a fault. */
  readonly codes: readonly string[];
  /** Makes an input and reads it, and all that it leads to; throws the error that refuses it. */
  round(chance: () => number): void;
}

/** Makes a fuzzer whose files are in an empty folder. */
export type MakeFuzzer = (folder: string) => Fuzzer;

export interface FuzzRange {
  readonly seed: number;
  /** The first round, counted from 0. */
  readonly first: number;
  readonly rounds: number;
}

export interface FuzzOutcome {
  readonly accepted: number;
  readonly refused: number;
  /** What a person has to look at, by round. */
  readonly faults: readonly { readonly round: number; readonly fault: string }[];
  /** The longest that a round took of this process's own time, in milliseconds. */
  readonly longestMs: number;
}

const MOST_FAULTS = 10;
const LONGEST_ROUND_MS = 1000;

/** Rounds have a seed each, so that any of them can be had again by itself. */
export function fuzz(make: MakeFuzzer, folder: string, { seed, first, rounds }: FuzzRange): FuzzOutcome {
  const fuzzer = make(folder);
  const faults: { readonly round: number; readonly fault: string }[] = [];
  let [accepted, refused, longestMs] = [0, 0, 0];
  using guard = guardReads(folder);
  for (let round = first; round < first + rounds && faults.length < MOST_FAULTS; round += 1) {
    const before = process.cpuUsage();
    try {
      fuzzer.round(chanceOf(seed * 10_000_019 + round));
      accepted += 1;
    } catch (error) {
      refused += 1;
      const fault = faultOf(error, fuzzer.codes);
      if (fault !== undefined) faults.push({ round, fault });
    }
    // Of this process's own time, so that what else a machine does is no reason to fail.
    const milliseconds = process.cpuUsage(before).user / 1000;
    longestMs = Math.max(longestMs, milliseconds);
    if (milliseconds > LONGEST_ROUND_MS) faults.push({ round, fault: `it took ${milliseconds} ms` });
    for (const path of guard.takeOutside()) faults.push({ round, fault: `${path} was opened` });
  }
  return { accepted, refused, faults, longestMs };
}

/** In a test: no faults, and so many of both kinds that something is shown. */
export function assertFuzzed({ accepted, refused, faults }: FuzzOutcome): void {
  assert.deepEqual(faults, []);
  const few = (accepted + refused) / 100;
  assert.ok(accepted >= few && refused >= few, `${accepted} accepted, ${refused} refused`);
}

/** A person must be able to read why an input is refused. */
function faultOf(error: unknown, codes: readonly string[]): string | undefined {
  if (!(error instanceof TrainyardError))
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  if (!codes.includes(error.code)) return `refused with ${error.code}: ${error.message}`;
  const isReadable = error.message.length > 10 && error.message.length < 20_000;
  // A component without a type is one of the type undefined to the tokenizers' library, and people understand that.
  const isRaw = /^ +at .*\.[jt]s:\d+|(?<!type: )undefined|\[object Object\]/m.test(error.message);
  return isReadable && !isRaw ? undefined : `nobody can read this: ${error.message.slice(0, 2000)}`;
}
