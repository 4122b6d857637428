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

/**
 * Where rounds count, where bytes do, and between. The time is for all sums of one size; what is predicted to take longer is
 * not measured, nor what is larger.
 */
const SIZES = [
  { bytes: 1 << 12, longest: 0.1 },
  { bytes: 1 << 17, longest: 0.12 },
  { bytes: 1 << 22, longest: 0.15 },
  { bytes: 1 << 24, longest: 0.24 },
] as const;

const FLOAT_BYTES = 4;

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
      for (const { bytes, longest } of SIZES) {
        if (LEAST_TURNS * secondsOfTurn(bytes, distinct, hosts, costs) > longest) break;
        const times = timesInTurns(transport, sums, distinct, bytes, longest);
        for (const [maker, seconds] of times) measured.get(maker)?.push({ bytes, seconds });
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

/** As it is predicted, and so the same on every rank. */
function secondsOfTurn(
  bytes: number,
  makers: readonly SumMaker[],
  hosts: Hosts,
  costs: CommunicationCosts,
): number {
  const call = { collective: 'all-reduce', elements: bytes / FLOAT_BYTES, dtype: 'float32' } as const;
  const once = makers.reduce((sum, maker) => sum + secondsOfParts(maker, hosts, call, costs), 0);
  return once * (bytes < LONG ? CALLS + 1 : 1);
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

/** In seconds; the mean over the ranks of what is the middle of all turns on each. */
function timesInTurns(
  transport: ProcessGroup,
  sums: Sums,
  makers: readonly SumMaker[],
  bytes: number,
  longest: number,
): ReadonlyMap<SumMaker, number> {
  const values = sums.allocate(bytes);
  const call = (maker: SumMaker): void => scope(() => sums.start(maker, values).wait());
  const calls = callsFor(bytes);
  const timeOf = (maker: SumMaker): number => {
    // Otherwise a rank that is late for one makes the next one longer.
    transport.barrier().wait();
    if (calls > 1) call(maker);
    // One after the other, as buckets come: the next may begin on one rank while the last ends on another.
    return seconds(() => repeat(calls, () => call(maker))) / calls;
  };
  const turn = () => makers.map(timeOf);
  // In the first, memory is touched for the first time.
  const [, ...turns] = inTurns(transport, turn, { seconds: longest, least: () => LEAST_TURNS, most: TURNS });
  const typical = bytes < LONG ? least : middle;
  const measured = makers.map((_, index) => typical(turns.flatMap((times) => times[index] ?? [])));
  const means = meansOverRanks(transport, measured);
  return new Map(makers.map((maker, index) => [maker, means[index] ?? Number.NaN]));
}

function repeat(times: number, body: () => void): void {
  for (let time = 0; time < times; time += 1) body();
}

/** Of few bytes: a rank that is woken late adds more than they take, and is so every other time. */
function least(values: readonly number[]): number {
  return Math.min(...values);
}

/** Of many: what caches and memory give differs both ways. Of two the shorter. */
function middle(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[(values.length - 1) >> 1] ?? Number.NaN;
}
