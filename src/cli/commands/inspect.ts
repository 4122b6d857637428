import { env } from '../../base/env.js';
import type { Inspection } from '../../engine/inspect.js';
import { type RankEnvironment, rankEnvironment, singleRank } from '../../launch/environment.js';
import type { EventSink } from '../../launch/events.js';
import { openRankChannel } from '../../launch/rank-channel.js';
import { formatValue } from '../format.js';
import type { ConfigOptions } from '../program/option-values.js';
import { createDisplay } from '../progress/create-display.js';
import { runAsRank } from './run-as-rank.js';
import { superviseRanks } from './supervise-ranks.js';
import { settings } from './supervise-training.js';

export interface InspectOptions extends ConfigOptions {
  readonly ranks?: number;
}

/** One forward and backward pass on the first batch, and what came of it; on several ranks where asked to. */
export async function inspect(config: string, options: InspectOptions): Promise<void> {
  const environment = rankEnvironment(env.variables, options.ranks);
  if (environment !== undefined) await inspectAsRank(config, options, environment);
  if (options.ranks === undefined || options.ranks === 1) {
    print(await inspected(config, options, singleRank()), options);
    return;
  }
  process.exitCode = await superviseRanks({
    command: ['inspect', ...settings(options.set ?? []), '--', config],
    ranks: options.ranks,
    display: createDisplay(false),
    onEvent: (event) => {
      if (event.event === 'answer') print(event.answer as Inspection, options);
    },
  });
}

function inspectAsRank(
  config: string,
  options: InspectOptions,
  environment: RankEnvironment,
): Promise<never> {
  const sink: EventSink =
    openRankChannel(env.variables) ??
    ((event) => {
      if (event.event === 'answer') print(event.answer as Inspection, options);
      if (event.event === 'error') createDisplay(false).failure(event);
    });
  return runAsRank(environment, sink, async () => {
    const answer = await inspected(config, options, environment);
    if (environment.rank === 0) sink({ event: 'answer', answer });
  });
}

async function inspected(
  config: string,
  { set = [] }: InspectOptions,
  environment: RankEnvironment,
): Promise<Inspection> {
  const { inspectModel } = await import('../../engine/inspect.js');
  return inspectModel({ configPath: config, overrides: set, environment });
}

function print(inspection: Inspection, { json }: InspectOptions): void {
  const norms = Object.entries(inspection.grad_norms);
  const width = Math.max(0, ...norms.map(([name]) => name.length));
  const lines = [
    `loss         ${formatValue(inspection.loss)}`,
    `logits norm  ${formatValue(inspection.logits_norm)}`,
    'gradient norms',
    ...norms.map(([name, norm]) => `  ${name.padEnd(width)}  ${formatValue(norm)}`),
  ];
  process.stdout.write(`${json === true ? JSON.stringify(inspection) : lines.join('\n')}\n`);
}
