import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { zeros } from '../tensor/generated/functions.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import type { Plan } from './algorithm/plan.js';
import { type CommunicationCosts, type LinearCost, lineThrough } from './communication-costs.js';
import { MessageBuffers } from './message-buffers.js';
import { WholeMemory } from './plan-memory.js';
import type { ProcessGroup } from './process-group.js';
import { runPlan } from './run-plan.js';
import type { SharedMemory } from './shared-memory.js';
import { type Hosts, hostIndex, laneMembers, lanesOf } from './topology.js';

/** In bytes; the time between them is that of bytes, the smaller one that of a message. */
const FEW = 1024;
const MANY = 1 << 20;

const FLOAT_BYTES = 4;

/** Rounds of a relay, and how often it is run: the quickest counts, for noise only adds. */
const ROUNDS = 6;
const REPETITIONS = 3;

const RELAY_TAG = 0x7d_0000;

/**
 * Measures what messages, sums and collectives take, all ranks at once, as they work in a collective. It takes a
 * fraction of a second. Every rank must call it; all get the same: of each time the longest of any rank.
 *
 * @param shared of the ranks of this host, where every host has such
 */
export function measureCosts(
  transport: ProcessGroup,
  hosts: Hosts,
  shared?: Pick<SharedMemory, 'allReduce' | 'allocate'>,
): CommunicationCosts {
  const { rank } = transport;
  const own = hosts[hostIndex(hosts, rank)] ?? [rank];
  const inside = neighboursIn(own, rank);
  const lane = own.indexOf(rank);
  // Ranks that not every host has have nobody to exchange with, and leave the link to the others.
  const between = lane < lanesOf(hosts) ? neighboursIn(laneMembers(hosts, lane), rank) : undefined;
  const nearest = hosts.some(({ length }) => length > 1) ? inside : between;
  const relayed = (neighbours: Neighbours | undefined, bytes: number, messages = 1): number =>
    neighbours === undefined ? 0 : quickest(() => relay(transport, neighbours, bytes, messages)) / ROUNDS;
  const reduced = (group: Pick<SharedMemory, 'allReduce' | 'allocate'>, bytes: number): number =>
    scope(() => {
      const values = group.allocate(bytes / FLOAT_BYTES, 'float32');
      return quickest(() => group.allReduce(values, 'sum').wait());
    });
  transport.barrier().wait();
  const times = {
    insideFew: relayed(inside, FEW),
    insideMany: relayed(inside, MANY),
    betweenFew: relayed(between, FEW),
    betweenMany: relayed(between, MANY),
    oneMessage: relayed(nearest, FEW),
    moreMessages: relayed(nearest, FEW, 1 + FURTHER),
    combined: combining(),
    backendFew: reduced(transport, FEW),
    backendMany: reduced(transport, MANY),
    sharedFew: shared === undefined ? 0 : reduced(shared, FEW),
    sharedMany: shared === undefined ? 0 : reduced(shared, MANY),
  };
  return costsFrom(agree(transport, times), hosts, shared !== undefined);
}

/** How many messages more a round has by which the cost of one is measured. */
const FURTHER = 3;

interface Neighbours {
  readonly next: number;
  readonly previous: number;
}

function neighboursIn(members: readonly number[], rank: number): Neighbours | undefined {
  const index = members.indexOf(rank);
  const { length } = members;
  const [next, previous] = [members[(index + 1) % length], members[(index + length - 1) % length]];
  if (index < 0 || next === undefined || previous === undefined || next === rank) return undefined;
  return { next, previous };
}

/** Lets messages go round some times: each round waits for the one before, as in an algorithm. */
function relay(transport: ProcessGroup, neighbours: Neighbours, bytes: number, messages: number): void {
  const length = bytes / FLOAT_BYTES;
  const buffers = new MessageBuffers();
  scope(() =>
    noGrad(() => {
      const memory = new WholeMemory(zeros([2 * messages * length]), buffers);
      const like = { dtype: 'float32', device: 'cpu' } as const;
      const plan = relayPlan(neighbours, length, messages);
      const stages = runPlan({ plan, transport, memory, buffers, reduction: 'sum', tag: RELAY_TAG, like });
      while (stages.next().done !== true);
      memory.dispose();
    }),
  );
}

function relayPlan({ next, previous }: Neighbours, length: number, messages: number): Plan {
  const places = (first: number) =>
    Array.from({ length: messages }, (_, index) => ({
      start: (first + index) * length,
      end: (first + index + 1) * length,
    }));
  return Array.from({ length: ROUNDS }, (_, round) => {
    const [from, to] = round % 2 === 0 ? [0, messages] : [messages, 0];
    return {
      sends: places(from).map((range) => ({ peer: next, ...range })),
      receives: places(to).map((range) => ({ peer: previous, ...range, effect: 'copy' as const })),
    };
  });
}

function combining(): number {
  return scope(() => {
    const [left, right]: readonly Tensor[] = [zeros([MANY / FLOAT_BYTES]), zeros([MANY / FLOAT_BYTES])];
    return quickest(() => void left?.add_(right ?? left));
  });
}

/** In seconds. */
function quickest(body: () => void): number {
  const times = Array.from({ length: REPETITIONS }, () => {
    const startedMs = performance.now();
    body();
    return (performance.now() - startedMs) / 1000;
  });
  return Math.min(...times);
}

type Times = Readonly<
  Record<
    | 'insideFew'
    | 'insideMany'
    | 'betweenFew'
    | 'betweenMany'
    | 'oneMessage'
    | 'moreMessages'
    | 'combined'
    | 'backendFew'
    | 'backendMany'
    | 'sharedFew'
    | 'sharedMany',
    number
  >
>;

/** Of each time the longest that any rank has measured: a collective waits for the slowest. */
function agree(transport: ProcessGroup, times: Times): Times {
  return scope(() => {
    const slowest = tensor(Float64Array.from(Object.values(times)));
    transport.allReduce(slowest, 'max').wait();
    const values = slowest.toArray();
    return Object.fromEntries(Object.keys(times).map((name, index) => [name, values[index]])) as Times;
  });
}

function costsFrom(times: Times, hosts: Hosts, isShared: boolean): CommunicationCosts {
  const largest = Math.max(...hosts.map(({ length }) => length));
  // In a relay so many ranks of a host send at once.
  const link = (ranks: number, few: number, many: number): LinearCost =>
    lineThrough([FEW * ranks, few], [MANY * ranks, many]);
  return {
    insideHost: link(largest, times.insideFew, times.insideMany),
    betweenHosts: link(lanesOf(hosts), times.betweenFew, times.betweenMany),
    perMessage: Math.max(0, times.moreMessages - times.oneMessage) / FURTHER,
    combinePerByte: times.combined / MANY,
    backend: lineThrough([FEW, times.backendFew], [MANY, times.backendMany]),
    ...(isShared && { sharedMemory: lineThrough([FEW, times.sharedFew], [MANY, times.sharedMany]) }),
  };
}
