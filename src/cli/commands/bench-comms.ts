import { env } from '../../base/env.js';
import type { CommunicationTimes } from '../../engine/bench/comms.js';
import { rankEnvironment } from '../../launch/environment.js';
import { openRankChannel } from '../../launch/rank-channel.js';
import { formatBytes } from '../format.js';
import type { JsonOption } from '../program/option-values.js';
import { createDisplay } from '../progress/create-display.js';
import { runAsRank } from './run-as-rank.js';
import { superviseRanks } from './supervise-ranks.js';

export interface BenchCommsOptions extends JsonOption {
  readonly ranks: number;
  readonly rounds: number;
  readonly ranksPerHost?: number;
  readonly bytes?: readonly number[];
}

/** What is measured where no sizes are given: where latency counts, where bandwidth does, and between. */
const USUAL_SIZES = [4096, 65_536, 1 << 20, 1 << 24, 1 << 26];

interface Answer {
  readonly all_reduce: readonly CommunicationTimes[];
}

/** Measures an fp32 all-reduce between ranks of this host by each algorithm, in turns. */
export async function benchComms(options: BenchCommsOptions): Promise<void> {
  const sizes = options.bytes ?? USUAL_SIZES;
  const channel = openRankChannel(env.variables);
  const environment = rankEnvironment(env.variables);
  if (environment !== undefined && channel !== undefined) {
    await runAsRank(environment, channel, async () => {
      const { benchComms: measure } = await import('../../engine/bench/comms.js');
      const { rounds, ranksPerHost } = options;
      const times = measure(environment, { sizes, rounds, ranksPerHost });
      if (environment.rank === 0) channel({ event: 'answer', answer: { all_reduce: times } });
    });
  }
  const { ranks, rounds, ranksPerHost } = options;
  const layout = ranksPerHost === undefined ? [] : ['--ranks-per-host', `${ranksPerHost}`];
  process.exitCode = await superviseRanks({
    command: [
      ...['bench', 'comms', '--rounds', `${rounds}`, ...layout],
      ...sizes.flatMap((size) => ['--bytes', `${size}`]),
    ],
    ranks,
    display: createDisplay(false),
    onEvent: (event) => {
      if (event.event === 'answer') print(event.answer as Answer, options);
    },
  });
}

function print({ all_reduce: times }: Answer, { ranks, ranksPerHost, json }: BenchCommsOptions): void {
  if (json === true) {
    const layout = ranksPerHost === undefined ? {} : { ranks_per_host: ranksPerHost };
    process.stdout.write(`${JSON.stringify({ ranks, ...layout, all_reduce: times })}\n`);
    return;
  }
  const algorithms = Object.keys(times[0]?.median_us ?? {});
  const rows = times.map(({ bytes, median_us, predicted_us, chosen, times_best }) => [
    formatBytes(bytes),
    ...algorithms.map((name) => `${microseconds(median_us[name])} (${microseconds(predicted_us[name])})`),
    `${chosen} (${digits(times_best)}×)`,
  ]);
  const head = ['all-reduce, µs', ...algorithms, 'chosen'];
  const lines = [head, head.map(() => '---'), ...rows];
  process.stdout.write(lines.map((cells) => `| ${cells.join(' | ')} |\n`).join(''));
  process.stdout.write(
    '\nIn brackets: the time predicted; of the chosen one, its time by the shortest measured.\n',
  );
}

function microseconds(value: number | undefined): string {
  return digits(value ?? Number.NaN);
}

function digits(value: number): string {
  return `${Number(value.toPrecision(3))}`;
}
