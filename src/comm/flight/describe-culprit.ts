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
    case 'silent':
      return describeSilent(culprit);
    case 'behind': {
      const { ranks, awaited, silentSeconds } = culprit;
      const what = `${named(ranks)} did not come to ${describeEntry(awaited)}.`;
      return silentSeconds === undefined
        ? what
        : `${what} The last word from there is ${silentSeconds.toFixed(1)} s older: ${reasons(ranks)}.`;
    }
    case 'late':
      return `Rank ${culprit.ranks[0]} came ${culprit.seconds.toFixed(1)} s after the first to ${describeEntry(culprit.collective)}.`;
    default:
      return culprit satisfies never;
  }
}

function describeSilent({ ranks, awaited, hasStore = false }: Extract<Culprit, { kind: 'silent' }>): string {
  const store = hasStore ? ', which has the store where ranks hear of each other,' : '';
  const are = ranks.length === 1 ? 'is' : 'are';
  const where = awaited === undefined ? '' : `, and ${are} awaited in ${describeEntry(awaited)}`;
  return `${named(ranks)}${store} left no word${where}: ${reasons(ranks)}.`;
}

/** Why nothing may be heard of ranks. */
function reasons(ranks: readonly number[]): string {
  const [they, are, have] = ranks.length === 1 ? ['it', 'is', 'has'] : ['they', 'are', 'have'];
  return `${they} ${are} gone, ${have} stopped, or cannot be reached over the network`;
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
