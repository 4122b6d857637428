import type { Culprit, Side } from './find-culprit.js';
import { describeEntry, type FlightRecord } from './flight-record.js';

/** What is said where ranks do not do the same. */
export const OTHER_OPERATION = 'the ranks are not in the same operation';

/** Who or what ended a run, in a sentence. */
export function describeCulprit(culprit: Culprit): string {
  switch (culprit.kind) {
    case 'failed':
      return `Rank ${culprit.ranks[0]} failed: ${culprit.reason}`;
    case 'mismatch':
      return `${capitalized(OTHER_OPERATION)}: ${culprit.sides.map(describeSide).join('; ')}.`;
    case 'silent': {
      const where =
        culprit.awaited === undefined ? '' : `, and is awaited in ${describeEntry(culprit.awaited)}`;
      return `${named(culprit.ranks)} left no word${where}: it is gone, or has stopped.`;
    }
    case 'behind':
      return `${named(culprit.ranks)} did not come to ${describeEntry(culprit.awaited)}.`;
    case 'late':
      return `Rank ${culprit.ranks[0]} came ${culprit.seconds.toFixed(1)} s after the first to ${describeEntry(culprit.collective)}.`;
    default:
      return culprit satisfies never;
  }
}

/** What a rank was doing when it wrote its record. */
export function describeRecord({ rank, state, reason, instruction, collectives }: FlightRecord): string {
  const open = collectives.find(({ ended, wait_began: began }) => ended === null && began !== null);
  const last = collectives.at(-1);
  const place = instruction === '' ? '' : `, at ${instruction}`;
  switch (state) {
    case 'failed':
      return `rank ${rank} failed: ${reason}`;
    case 'waiting':
    case 'collective failed':
      if (open !== undefined) return `rank ${rank} waited in ${describeEntry(open)}`;
      return last === undefined
        ? `rank ${rank} was in no collective yet${place}`
        : `rank ${rank} came from ${describeEntry(last)}${place}`;
    default:
      return state satisfies never;
  }
}

/** "ranks 0, 2 in allReduce (sum) of …" */
export function describeSide({ ranks, collective }: Side): string {
  return `${ranks.length === 1 ? 'rank' : 'ranks'} ${ranks.join(', ')} in ${describeEntry(collective)}`;
}

function capitalized(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const MOST_NAMED = 16;

function named(ranks: readonly number[]): string {
  if (ranks.length === 1) return `Rank ${ranks[0]}`;
  const more = ranks.length > MOST_NAMED ? ` and ${ranks.length - MOST_NAMED} more` : '';
  return `Ranks ${ranks.slice(0, MOST_NAMED).join(', ')}${more}`;
}
