import { createHash } from 'node:crypto';
import { TrainyardError } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import { configSchema } from './config/schema.js';
import type { ResolvedConfig } from './config.js';
import { gatherBytes } from './gather-bytes.js';

/** What may lie elsewhere on each rank's host, or is looked at on one rank alone. */
const OWN_TO_A_RANK: ReadonlySet<string> = new Set(['$schema', 'data', 'output', 'steps_per_print']);

const BYTES = 8;

/**
 * Compares the configurations of the ranks, which train one model together. Every rank must call it.
 *
 * @throws TrainyardError CONFIG_CONFLICT naming the keys in which a rank differs from rank 0
 */
export function demandSameConfiguration(group: ProcessGroup, config: ResolvedConfig): void {
  if (group.worldSize === 1) return;
  const keys = Object.keys(configSchema.shape).filter((key) => !OWN_TO_A_RANK.has(key));
  const values: Readonly<Record<string, unknown>> = { ...config };
  const own = Buffer.concat(keys.map((key) => digest(values[key])));
  const [first = own, ...others] = gatherBytes(group, own).map((bytes) => Buffer.from(bytes));
  for (const [index, bytes] of others.entries()) {
    const differing = keys.filter((_, at) => {
      const part = (all: Buffer) => all.subarray(at * BYTES, (at + 1) * BYTES);
      return !part(bytes).equals(part(first));
    });
    if (differing.length === 0) continue;
    throw new TrainyardError('CONFIG_CONFLICT', {
      what: `Rank ${index + 1} has another configuration than rank 0.`,
      where: differing.join(', '),
      expected: 'the same on every rank, once defaults are filled in',
      cure: 'Give every rank the same configuration.',
    });
  }
}

function digest(value: unknown): Buffer {
  return createHash('sha256')
    .update(JSON.stringify(value) ?? '')
    .digest()
    .subarray(0, BYTES);
}
