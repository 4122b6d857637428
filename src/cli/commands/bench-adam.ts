import type { AdamCase } from '../../engine/bench/adam.js';
import { type BenchComparison, median, runPeer } from '../bench/peer.js';

export interface BenchAdamOptions extends BenchComparison {
  readonly elements: number;
  readonly steps: number;
}

/** AdamW in fp32 reads parameter, gradient and two moments of each element, and writes all but the gradient. */
const BYTES_PER_ELEMENT = 28;

/** One flat tensor, and a model's parameters each in its own; on one thread and on two. */
const LAYOUTS: readonly Omit<AdamCase, 'elements'>[] = [1, 2].flatMap((threads) =>
  [1, 200].map((tensors) => ({ tensors, threads })),
);

/**
 * Prints what an AdamW update takes, in milliseconds and as bandwidth; beside a peer, in turns with it, and with the median
 * ratio of times: above 1 we are faster.
 */
export async function benchAdamCommand(peer: readonly string[], options: BenchAdamOptions): Promise<void> {
  const cases: CaseResult[] = [];
  for (const layout of LAYOUTS)
    cases.push(await measure({ ...layout, elements: options.elements }, peer, options));
  const text =
    options.json === true
      ? JSON.stringify({ peer: 'trainyard', elements: options.elements, cases })
      : cases.map(describe).join('\n');
  process.stdout.write(`${text}\n`);
}

interface CaseResult {
  readonly tensors: number;
  readonly threads: number;
  readonly ms: number;
  readonly gb_s: number;
  readonly peer_ms?: number;
  readonly ratio?: number;
}

async function measure(
  layout: AdamCase,
  peer: readonly string[],
  { rounds, steps }: BenchAdamOptions,
): Promise<CaseResult> {
  const { benchAdam } = await import('../../engine/bench/adam.js');
  const { elements, tensors, threads } = layout;
  const own: number[] = [];
  const other: number[] = [];
  for (let round = 0; round < (peer.length === 0 ? 1 : rounds); round += 1) {
    own.push(benchAdam(layout, steps).ms);
    if (peer.length === 0) continue;
    const sizes = { '--n': elements, '--tensors': tensors, '--threads': threads, '--steps': steps };
    const words = Object.entries(sizes).flatMap(([name, value]) => [name, String(value)]);
    other.push(Number((await runPeer([...peer, ...words])).ms));
  }
  const ms = median(own);
  const result = { tensors, threads, ms, gb_s: (elements * BYTES_PER_ELEMENT) / ms / 1e6 };
  if (peer.length === 0) return result;
  const ratios = own.map((each, round) => (other[round] ?? Number.NaN) / each);
  return { ...result, peer_ms: median(other), ratio: median(ratios) };
}

function describe({ tensors, threads, ms, gb_s, peer_ms, ratio }: CaseResult): string {
  return [
    `${tensors} tensor${tensors === 1 ? ' ' : 's'}`.padStart(11),
    `${threads} thread${threads === 1 ? ' ' : 's'}`,
    `${ms.toFixed(2).padStart(8)} ms`,
    `${gb_s.toFixed(1).padStart(6)} GB/s`,
    ...(peer_ms === undefined ? [] : [`peer ${peer_ms.toFixed(2).padStart(8)} ms`]),
    ...(ratio === undefined ? [] : [`ratio ${ratio.toFixed(2)}`]),
  ].join('   ');
}
