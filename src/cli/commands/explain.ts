import { printable } from '../../base/printable.js';
import { explainConfig } from '../../engine/config/explain.js';
import { loadConfig } from '../../engine/config.js';
import type { ConfigOptions } from '../program/option-values.js';

export interface ExplainOptions extends ConfigOptions {
  readonly ranks?: number;
}

/** Prints every setting of a configuration with its value and where it came from. */
export async function explain(config: string, options: ExplainOptions): Promise<void> {
  const settings = explainConfig(loadConfig(config, options.set ?? [], { worldSize: options.ranks ?? 1 }));
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(settings)}\n`);
    return;
  }
  const rows = settings.map(({ key, value, place }) => [key, JSON.stringify(value), place] as const);
  const widthOf = (column: 0 | 1) => Math.max(0, ...rows.map((row) => row[column].length));
  const [keys, values] = [widthOf(0), widthOf(1)];
  for (const [key, value, place] of rows) {
    process.stdout.write(`${printable(`${key.padEnd(keys)}  ${value.padEnd(values)}  ${place}`)}\n`);
  }
}
