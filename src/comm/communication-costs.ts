import type { Plan } from './algorithm/plan.js';
import { ranksOf } from './algorithm/plan.js';
import type { AlgorithmName } from './algorithm.js';
import { type Hosts, hostIndex } from './topology.js';

/** A time that grows with the bytes. */
export interface LinearCost {
  /** Of nothing at all, in seconds. */
  readonly start: number;
  /** Seconds for each byte. */
  readonly perByte: number;
}

/** What makes an all-reduce over messages; `direct`: everybody sends everybody what that one needs. */
export type SumMaker = AlgorithmName | 'backend' | 'direct';

/** What a whole all-reduce of an fp32 tensor took. */
export interface MeasuredSum {
  readonly bytes: number;
  readonly seconds: number;
}

/** By what made them, those of few bytes first; none where there was no time for it. */
export type MeasuredSums = ReadonlyMap<SumMaker, readonly MeasuredSum[]>;

/** What things take where a run is, as its ranks measured it together. */
export interface CommunicationCosts {
  /** A round of messages between ranks of one host, by all bytes that those ranks send each other. */
  readonly insideHost: LinearCost;
  /** A round of messages between hosts, by the bytes that leave a host, or come to it. */
  readonly betweenHosts: LinearCost;
  /** The same where a host sends to several, which may go by links of their own; absent where there are but two. */
  readonly betweenManyHosts?: LinearCost | undefined;
  /** A further message of one rank in one round. */
  readonly perMessage: number;
  /** Combining what has arrived, by its bytes on one rank. */
  readonly combinePerByte: number;
  /** The transport's own all-reduce, by the bytes of the tensor. */
  readonly backend: LinearCost;
  /** An all-reduce of the ranks of one host in their memory, by the bytes of the tensor; absent where they have none. */
  readonly sharedMemory?: LinearCost | undefined;
  /** Whole all-reduces, by which predictions from all of these are corrected. */
  readonly sums?: MeasuredSums | undefined;
}

export function secondsFor({ start, perByte }: LinearCost, bytes: number): number {
  return start + perByte * bytes;
}

/** At least so much of the time of many bytes is taken to be that of the bytes, whatever noise says. */
const LEAST_SHARE = 1 / 8;

/** The line through two measured times, which rises: noise must not make large messages cost nothing. */
export function lineThrough(
  [fewBytes, fewSeconds]: readonly [bytes: number, seconds: number],
  [manyBytes, manySeconds]: readonly [bytes: number, seconds: number],
): LinearCost {
  const slope = (manySeconds - fewSeconds) / (manyBytes - fewBytes);
  const perByte = Math.max(slope, (LEAST_SHARE * manySeconds) / manyBytes);
  return { start: Math.max(0, Math.min(fewSeconds, manySeconds) - perByte * fewBytes), perByte };
}

/**
 * How long the plans of all ranks take together. A round takes as long as what is slowest in it: the messages inside
 * of some host, or those that leave it or come to it, which share its link; then the sums of the rank that has most.
 *
 * @param plans by rank, equally long
 */
export function planSeconds(
  plans: readonly Plan[],
  hosts: Hosts,
  elementBytes: number,
  costs: CommunicationCosts,
): number {
  const hostOf = new Map(ranksOf(hosts).map((rank) => [rank, hostIndex(hosts, rank)]));
  const rounds = Array.from({ length: plans[0]?.length ?? 0 }, (_, index) =>
    roundLoad(plans, index, hostOf, hosts.length),
  );
  return rounds.reduce((sum, load) => sum + roundSeconds(load, elementBytes, costs), 0);
}

/** What moves in one round, in elements. */
interface RoundLoad {
  readonly inside: readonly number[];
  readonly leaving: readonly number[];
  readonly coming: readonly number[];
  /** Some host sends to several others. */
  readonly isSpread: boolean;
  /** The most of any rank. */
  readonly combined: number;
  readonly messages: number;
}

function roundLoad(
  plans: readonly Plan[],
  index: number,
  hostOf: ReadonlyMap<number, number>,
  hosts: number,
): RoundLoad {
  const [inside, leaving, coming] = [zeros(hosts), zeros(hosts), zeros(hosts)];
  const crossings = new Set<string>();
  let [combined, messages] = [0, 0];
  for (const [rank, plan] of plans.entries()) {
    const { sends = [], receives = [] } = plan[index] ?? {};
    const own = hostOf.get(rank) ?? 0;
    for (const { peer, start, end } of sends) {
      const other = hostOf.get(peer) ?? 0;
      if (other === own) add(inside, own, end - start);
      else {
        crossings.add(`${own} ${other}`);
        add(leaving, own, end - start);
        add(coming, other, end - start);
      }
    }
    const summed = receives.filter(({ effect }) => effect === 'combine');
    combined = Math.max(
      combined,
      summed.reduce((sum, { start, end }) => sum + end - start, 0),
    );
    messages = Math.max(messages, sends.length);
  }
  const senders = new Set([...crossings].map((crossing) => crossing.split(' ')[0]));
  return { inside, leaving, coming, isSpread: crossings.size > senders.size, combined, messages };
}

function roundSeconds(
  { inside, leaving, coming, isSpread, combined, messages }: RoundLoad,
  elementBytes: number,
  { insideHost, betweenHosts, betweenManyHosts, perMessage, combinePerByte }: CommunicationCosts,
): number {
  const over = (link: LinearCost, elements: readonly number[]): number => {
    const most = Math.max(...elements);
    return most === 0 ? 0 : secondsFor(link, most * elementBytes);
  };
  const between = isSpread ? (betweenManyHosts ?? betweenHosts) : betweenHosts;
  const moved = Math.max(over(insideHost, inside), over(between, leaving), over(between, coming));
  return moved + Math.max(0, messages - 1) * perMessage + combined * elementBytes * combinePerByte;
}

function zeros(length: number): number[] {
  return Array.from({ length }, () => 0);
}

function add(counts: number[], index: number, amount: number): void {
  counts[index] = (counts[index] ?? 0) + amount;
}
