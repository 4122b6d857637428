import { zeros } from '../tensor/generated/functions.js';
import type { Plan } from './algorithm/plan.js';
import type { Direction } from './algorithm/ring.js';
import { MessageBuffers } from './message-buffers.js';
import { WholeMemory } from './plan-memory.js';
import type { ProcessGroup } from './process-group.js';
import { runPlan } from './run-plan.js';

/** How many rounds a relay has. */
export const RELAY_ROUNDS = 3;

const FLOAT_BYTES = 4;

const RELAY_TAG = 0x7d_0000;

/** Whom a rank sends to in a relay, and whom it hears from. */
export interface Neighbours {
  readonly next: number;
  readonly previous: number;
}

/** In a ring of these members; undefined where nobody is beside the rank. */
export function neighboursIn(members: readonly number[], rank: number): Neighbours | undefined {
  const index = members.indexOf(rank);
  const { length } = members;
  const [next, previous] = [members[(index + 1) % length], members[(index + length - 1) % length]];
  if (index < 0 || next === undefined || previous === undefined || next === rank) return undefined;
  return { next, previous };
}

/**
 * Makes bodies that let messages go round among neighbours, a few rounds of them, each of which waits for the one before,
 * as in an algorithm; for a rank without any they do nothing.
 */
export function relayOver(transport: ProcessGroup) {
  const buffers = new MessageBuffers();
  return (
    neighbours: Neighbours | undefined,
    bytes: number,
    messages = 1,
    ways: readonly Direction[] = [1],
  ): (() => void) => {
    if (neighbours === undefined) return () => {};
    const length = bytes / FLOAT_BYTES;
    const values = zeros([2 * ways.length * messages * length]);
    const plan = relayPlan(neighbours, length, messages, ways);
    const like = { dtype: 'float32', device: 'cpu' } as const;
    return () => {
      const memory = new WholeMemory(values, buffers);
      const stages = runPlan({ plan, transport, memory, buffers, reduction: 'sum', tag: RELAY_TAG, like });
      while (stages.next().done !== true);
      memory.dispose();
    };
  };
}

function relayPlan(
  { next, previous }: Neighbours,
  length: number,
  messages: number,
  ways: readonly Direction[],
): Plan {
  const places = (first: number) =>
    Array.from({ length: messages }, (_, index) => ({
      start: (first + index) * length,
      end: (first + index + 1) * length,
    }));
  return Array.from({ length: RELAY_ROUNDS }, (_, round) => {
    const half = ways.length * messages;
    const [from, to] = round % 2 === 0 ? [0, half] : [half, 0];
    return {
      sends: ways.flatMap((way, index) =>
        places(from + index * messages).map((range) => ({ peer: way === 1 ? next : previous, ...range })),
      ),
      receives: ways.flatMap((way, index) =>
        places(to + index * messages).map((range) => ({
          peer: way === 1 ? previous : next,
          ...range,
          effect: 'copy' as const,
        })),
      ),
    };
  });
}
