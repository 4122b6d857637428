import { env } from '../../base/env.js';
import { rankEnvironment, singleRank } from '../../launch/environment.js';
import { formatValue } from '../format.js';
import type { ConfigOptions } from '../program.js';

/** One forward and backward pass on the first batch, and what came of it; rank 0 prints where there are several. */
export async function inspect(config: string, options: ConfigOptions): Promise<void> {
  const { inspectModel } = await import('../../engine/inspect.js');
  const environment = rankEnvironment(env.variables) ?? singleRank();
  const inspection = await inspectModel({ configPath: config, overrides: options.set ?? [], environment });
  if (environment.rank !== 0) return;
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(inspection)}\n`);
    return;
  }
  const norms = Object.entries(inspection.grad_norms);
  const width = Math.max(0, ...norms.map(([name]) => name.length));
  const lines = [
    `loss         ${formatValue(inspection.loss)}`,
    `logits norm  ${formatValue(inspection.logits_norm)}`,
    'gradient norms',
    ...norms.map(([name, norm]) => `  ${name.padEnd(width)}  ${formatValue(norm)}`),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}
