import { noGrad } from '../tensor/autograd.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { secondsOfParts } from './choose-algorithm.js';
import type { CommunicationCosts, MeasuredSum, MeasuredSums, SumMaker } from './communication-costs.js';
import { directAllReduce } from './direct-exchange.js';
import { distinctPlans } from './distinct-plans.js';
import { inTurns, meansOverRanks, seconds } from './measure-together.js';
import { MessageBuffers } from './message-buffers.js';
import { PlannedGroup } from './process-group/planned.js';
import type { ProcessGroup } from './process-group.js';
import type { SharedMemory } from './shared-memory.js';
import type { Hosts } from './topology.js';
import type { Work } from './work.js';

/** In bytes: from where rounds count to where bytes do, each eight times the one before. */
const SIZES = [1 << 12, 1 << 15, 1 << 18, 1 << 21, 1 << 24] as const;

const FLOAT_BYTES = 4;

/** In seconds, for all sums of one size. What is predicted to take longer is not measured, nor what is larger. */
const LONGEST = 0.06;

/** What takes so many times as long as the shortest is no worse for certain: those are measured further, for so long. */
const NEAR = 1.3;
const LONGEST_FINAL = 0.04;

/** How often each has its turn, so that what else the machine does meets all alike. */
const TURNS = 20;
const LEAST_TURNS = 2;

/** Calls of one turn, after one that finds in caches what another left there; of many bytes one, for it does not matter. */
const CALLS = 4;
const LONG = 1 << 20;

/**
 * Times whole all-reduces in every way that there is, at a few sizes, all ranks at once, so far as there is time for that:
 * what a prediction from parts leaves out (how threads wake each other, what stays in caches) is in these. Every rank
 * must call it; all get the same.
 *
 * @param costs the parts, on which the ranks have agreed
 */
export function measureSums(
  transport: ProcessGroup,
  hosts: Hosts,
  costs: CommunicationCosts,
  shared?: SharedMemory,
): MeasuredSums {
  return scope(() =>
    noGrad(() => {
      const makers = distinctMakers(hosts);
      const distinct = [...new Set(makers.values())];
      const sums = startSums(transport, hosts, shared);
      const measured = new Map<SumMaker, MeasuredSum[]>(distinct.map((maker) => [maker, []]));
      for (const bytes of SIZES) {
        const seconds = (maker: SumMaker): number =>
          expectedSeconds(maker, bytes, measured.get(maker)?.at(-1), hosts, costs);
        const calls = bytes < LONG ? CALLS + 1 : 1;
        const turn = calls * distinct.reduce((sum, maker) => sum + seconds(maker), 0);
        if (LEAST_TURNS * turn > LONGEST) break;
        const times = timesInTurns(transport, sums, distinct, bytes);
        for (const [maker, took] of times) measured.get(maker)?.push({ bytes, seconds: took });
      }
      sums.dispose();
      return new Map([...makers].map(([maker, as]) => [maker, measured.get(as) ?? []]));
    }),
  );
}

/** Everything that makes sums where the ranks are so, with the first that makes them in the same way. */
function distinctMakers(hosts: Hosts): ReadonlyMap<SumMaker, SumMaker> {
  const plans = distinctPlans(hosts);
  // Between two ranks a ring exchanges what everybody sends everybody.
  const direct = hosts.flat().length > 2 ? 'direct' : 'ring';
  return new Map<SumMaker, SumMaker>([['backend', 'backend'], ['direct', direct], ...plans]);
}

/**
 * As it is predicted from parts, but no more than a shorter one took by as many times as it has the bytes: a part that something
 * else has held up says too much. All of it is agreed on, and so the same on every rank.
 */
function expectedSeconds(
  maker: SumMaker,
  bytes: number,
  shorter: MeasuredSum | undefined,
  hosts: Hosts,
  costs: CommunicationCosts,
): number {
  const call = { collective: 'all-reduce', elements: bytes / FLOAT_BYTES, dtype: 'float32' } as const;
  const ofParts = secondsOfParts(maker, hosts, call, costs);
  return shorter === undefined ? ofParts : Math.min(ofParts, (bytes / shorter.bytes) * shorter.seconds);
}

function callsFor(bytes: number): number {
  return bytes < LONG ? CALLS : 1;
}

interface Sums {
  start(maker: SumMaker, values: Tensor): Work;
  allocate(bytes: number): Tensor;
  dispose(): void;
}

function startSums(transport: ProcessGroup, hosts: Hosts, shared: SharedMemory | undefined): Sums {
  const buffers = new MessageBuffers();
  let chosen: Exclude<SumMaker, 'direct'> = 'backend';
  const group = new PlannedGroup({ transport, hosts, choose: () => chosen, shared });
  return {
    start(maker, values) {
      if (maker === 'direct') return directAllReduce(transport, buffers, values, 'sum');
      chosen = maker;
      return group.allReduce(values, 'sum');
    },
    allocate: (bytes) => group.allocate(bytes / FLOAT_BYTES, 'float32'),
    dispose() {
      buffers.dispose();
      group.disposeBuffers();
    },
  };
}

/**
 * In seconds; the mean over the ranks of the middle of all calls on each: one that the machine has interrupted is one of
 * many. Those that are near the shortest are called further, so that it is not noise which decides among them.
 */
function timesInTurns(
  transport: ProcessGroup,
  sums: Sums,
  makers: readonly SumMaker[],
  bytes: number,
): ReadonlyMap<SumMaker, number> {
  const values = sums.allocate(bytes);
  const call = (maker: SumMaker): void => scope(() => sums.start(maker, values).wait());
  const taken = new Map<SumMaker, number[]>(makers.map((maker) => [maker, []]));
  const takeTurn = (maker: SumMaker): void => {
    // Otherwise a rank that is late for one makes the next one longer.
    transport.barrier().wait();
    if (bytes < LONG) call(maker);
    // One after the other, as buckets come: the next may begin on one rank while the last ends on another.
    for (let each = 0; each < callsFor(bytes); each += 1) taken.get(maker)?.push(seconds(() => call(maker)));
  };
  const race = (among: readonly SumMaker[], limit: number): ReadonlyMap<SumMaker, number> => {
    const turn = (): void => among.forEach(takeTurn);
    inTurns(transport, turn, { seconds: limit, least: LEAST_TURNS, most: TURNS });
    const own = makers.map((maker) => middle(taken.get(maker) ?? []));
    const means = meansOverRanks(transport, own);
    return new Map(makers.map((maker, index) => [maker, means[index] ?? Number.NaN]));
  };
  // Memory is touched for the first time.
  for (const maker of makers) call(maker);
  const times = race(makers, LONGEST);
  const shortest = Math.min(...times.values());
  const near = makers.filter((maker) => (times.get(maker) ?? Number.NaN) <= NEAR * shortest);
  return near.length === 1 ? times : race(near, LONGEST_FINAL);
}

/** Of two the shorter. */
function middle(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[(values.length - 1) >> 1] ?? Number.NaN;
}
