import { exitCodeOf } from '../base/error-codes.js';
import type { ErrorEvent } from './events.js';
import { HEARTBEAT, type Section } from './flight-record.js';

/** A living rank that has begun, and the instruction at which it is. */
export interface StandingRank {
  /** Among the ranks that are watched here. */
  readonly index: number;
  readonly rank: number;
  readonly section: Section;
}

/** A machine that is short of cores may keep a thread waiting for a part of this. */
const FROZEN_MS = 2000;

/** Whether the process itself does not run: it was stopped, or frozen. A thread that is stuck leaves the heartbeat alone. */
function isFrozen({ silentMs = 0 }: Section): boolean {
  return silentMs >= FROZEN_MS;
}

/**
 * The rank that a run waits for, once some rank has been at its instruction for `hangMs`: the one whose process does not
 * run, else the one that has been at its own for the longest.
 */
export function findHung(
  standing: readonly StandingRank[],
  hangMs: number,
  now: number,
): StandingRank | undefined {
  const [longest] = [...standing].sort((left, right) => left.section.since - right.section.since);
  if (longest === undefined || now - longest.section.since < hangMs) return undefined;
  // Others may have come to where they wait for it before it was stopped.
  return standing.find(({ section }) => isFrozen(section)) ?? longest;
}

/** What is said of it. */
export function hungEvent({ rank, section }: StandingRank, now: number): ErrorEvent {
  const { step, instruction, since, silentMs } = section;
  const where = `rank ${rank}, step ${step}, ${instruction}`;
  const common = {
    event: 'error',
    rank,
    code: 'RANK_HUNG',
    exit_code: exitCodeOf('RANK_HUNG'),
    time: now,
  } as const;
  if (silentMs !== undefined && isFrozen(section)) {
    return {
      ...common,
      report: {
        what: `Rank ${rank} hangs: its process has not run for ${seconds(silentMs)}.`,
        where,
        expected: `a heartbeat every ${HEARTBEAT.intervalMs} ms, which no work of the rank holds up`,
        cure: 'find out whether it was stopped (SIGSTOP, a debugger), frozen with its container, or waits for swapped memory',
      },
    };
  }
  const runs = 'its process runs (the heartbeat goes on), and the thread of its program is stuck';
  return {
    ...common,
    report: {
      what: `Rank ${rank} hangs: it has been at one instruction for ${seconds(now - since)}.`,
      where,
      ...(silentMs !== undefined && { got: runs }),
      cure: 'if that may take so long, raise --hang-timeout',
    },
  };
}

function seconds(milliseconds: number): string {
  return `${Math.round(milliseconds / 1000)} s`;
}
