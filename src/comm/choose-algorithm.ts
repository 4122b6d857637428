import { invariant } from '../base/errors.js';
import { DTYPES, type DType } from '../tensor/dtype.js';
import type { PlannedCollective } from './algorithm/algorithm.js';
import { directPlan } from './algorithm/direct.js';
import { type Plan, ranksOf } from './algorithm/plan.js';
import { ringAllGather, ringAllReduce, ringReduceScatter } from './algorithm/ring.js';
import { ALGORITHM_NAMES, ALGORITHMS, type AlgorithmName } from './algorithm.js';
import {
  type CommunicationCosts,
  type MeasuredSum,
  planSeconds,
  type SumMaker,
  secondsFor,
} from './communication-costs.js';
import { type Hosts, isRegular, laneMembers } from './topology.js';

/** Says how a collective is done. Every rank must come to the same answer. */
export type ChooseAlgorithm = (call: CollectiveCall) => AlgorithmName | 'backend';

/** A collective for which an algorithm is chosen. */
export interface CollectiveCall {
  readonly collective: PlannedCollective;
  /** Of the whole. */
  readonly elements: number;
  readonly dtype: DType;
}

/** What can do a collective over messages. */
export type Choice = AlgorithmName | 'backend';

/** The choices where the ranks are so, the plainest first. */
export function choicesFor(hosts: Hosts): readonly Choice[] {
  return ['backend', ...ALGORITHM_NAMES.filter((name) => ALGORITHMS[name].refuses(hosts) === undefined)];
}

/**
 * Chooses for each collective what is predicted to be fastest, and the backend where nothing is clearly faster. All ranks
 * choose the same where they have agreed on the costs, since nothing else is asked.
 */
export function createChooser(hosts: Hosts, costs: CommunicationCosts): ChooseAlgorithm {
  const known = new Map<string, Choice>();
  return (call) => {
    const key = `${call.collective} ${call.elements} ${call.dtype}`;
    const found = known.get(key) ?? fastest(hosts, call, costs);
    known.set(key, found);
    return found;
  };
}

/** What is measured differs more than this from start to start: the backend is left for what is clearly faster. */
const CLEARLY = 0.92;

interface Predicted {
  readonly choice: Choice;
  readonly seconds: number;
}

function fastest(hosts: Hosts, call: CollectiveCall, costs: CommunicationCosts): Choice {
  const predicted = choicesFor(hosts).map(
    (choice): Predicted => ({
      choice,
      seconds: predictSeconds(choice, hosts, call, costs),
    }),
  );
  const [backend, ...ours] = predicted;
  invariant(backend, 'there is always the backend');
  const isClear = ({ seconds }: Predicted): boolean => seconds < CLEARLY * backend.seconds;
  return ours.filter(isClear).reduce((best, each) => (each.seconds < best.seconds ? each : best), backend)
    .choice;
}

/**
 * How long a collective takes in one way, in seconds: what its parts come to, corrected as an all-reduce of so many bytes is
 * corrected by those that were measured whole.
 */
export function predictSeconds(
  choice: Choice,
  hosts: Hosts,
  call: CollectiveCall,
  costs: CommunicationCosts,
): number {
  const maker = choice === 'backend' && call.collective !== 'all-reduce' ? 'direct' : choice;
  const parts = secondsOfParts(maker, hosts, call, costs);
  const sums = costs.sums?.get(maker) ?? [];
  const partsOf = (bytes: number): number => {
    const elements = bytes / DTYPES.float32.bytes;
    return secondsOfParts(maker, hosts, { collective: 'all-reduce', elements, dtype: 'float32' }, costs);
  };
  const least = DTYPES.float32.bytes * ranksOf(hosts).length;
  return parts * factorAt(sums, call.elements * DTYPES[call.dtype].bytes, partsOf, least);
}

/** From this share of a time on that of bytes is most of it. */
const MOSTLY = 3 / 4;

/**
 * By what parts are to be multiplied, so that an all-reduce that was measured takes what it took: by the logarithm of bytes
 * between the two nearest, and beyond them by the longest.
 *
 * @param partsOf what the parts of an all-reduce of so many bytes come to
 * @param least bytes of an all-reduce that is hardly more than its start
 */
function factorAt(
  sums: readonly MeasuredSum[],
  bytes: number,
  partsOf: (bytes: number) => number,
  least: number,
): number {
  const factorOf = (sum: MeasuredSum): number => sum.seconds / partsOf(sum.bytes);
  const above = sums.findIndex((each) => each.bytes >= bytes);
  if (above === -1) return factorBeyond(sums.at(-1), bytes, partsOf, least);
  const [left, right] = [sums[above - 1], sums[above]];
  if (left === undefined || right === undefined) return right === undefined ? 1 : factorOf(right);
  const share = Math.log(bytes / left.bytes) / Math.log(right.bytes / left.bytes);
  return factorOf(left) + share * (factorOf(right) - factorOf(left));
}

/** What a sum of few bytes takes more than its parts says nothing of bytes: it is a start that takes longer. */
function factorBeyond(
  longest: MeasuredSum | undefined,
  bytes: number,
  partsOf: (bytes: number) => number,
  least: number,
): number {
  if (longest === undefined) return 1;
  const parts = partsOf(longest.bytes);
  if (parts - partsOf(least) >= MOSTLY * parts) return longest.seconds / parts;
  const expected = partsOf(bytes);
  return Math.max(expected + longest.seconds - parts, longest.seconds) / expected;
}

/** What a collective takes by what its rounds of messages, its sums and its stages in shared memory take. */
export function secondsOfParts(
  maker: SumMaker,
  hosts: Hosts,
  { collective, elements, dtype }: CollectiveCall,
  costs: CommunicationCosts,
): number {
  const elementBytes = DTYPES[dtype].bytes;
  const ranks = [...ranksOf(hosts)].sort((left, right) => left - right);
  const over = (plan: (rank: number) => Plan): number =>
    planSeconds(ranks.map(plan), hosts, elementBytes, costs);
  switch (maker) {
    case 'backend':
      return secondsFor(costs.backend, elements * elementBytes);
    case 'direct': {
      const stages = collective === 'all-reduce' ? (['reduce-scatter', 'all-gather'] as const) : [collective];
      return stages
        .map((stage) => over((rank) => directPlan({ collective: stage, rank, hosts, elements })))
        .reduce((sum, seconds) => sum + seconds, 0);
    }
    case 'hierarchical':
      if (costs.sharedMemory !== undefined && isRegular(hosts)) {
        const inMemory = secondsFor(costs.sharedMemory, elements * elementBytes);
        const share = collective === 'all-reduce' ? 1 : 0.5;
        return share * inMemory + over((rank) => lanePlan(hosts, rank, collective, elements));
      }
      break;
    case 'ring':
    case 'bidirectional-ring':
    case 'halving-doubling':
      break;
    default:
      maker satisfies never;
  }
  return over((rank) => ALGORITHMS[maker].plan({ collective, rank, hosts, elements }));
}

/** What travels between hosts where the sums over a host are made in its memory (`hierarchical-in-memory.ts`). */
function lanePlan(
  hosts: Hosts,
  rank: number,
  collective: CollectiveCall['collective'],
  elements: number,
): Plan {
  const lane = Math.max(...hosts.map((host) => host.indexOf(rank)));
  const members = laneMembers(hosts, lane);
  const share = Math.ceil(elements / ranksOf(hosts).length);
  const shares = members.map((_, index) => [{ start: index * share, end: (index + 1) * share }]);
  switch (collective) {
    case 'all-reduce':
      return ringAllReduce(members, rank, shares);
    case 'reduce-scatter':
      return ringReduceScatter(members, rank, shares);
    case 'all-gather':
      return ringAllGather(members, rank, shares);
    default:
      return collective satisfies never;
  }
}
