import type { ProcessGroup } from '../comm/process-group.js';
import type { Program } from '../step/program.js';
import type { ResolvedConfig } from './config.js';
import { gatherNumbers } from './gather-bytes.js';

/**
 * The ranks of each host, where several hosts have equally many, one behind the other; else undefined. Every rank must
 * call it.
 *
 * @param localWorldSize the number of ranks on this one's host
 */
export function regularHosts(group: ProcessGroup, localWorldSize: number): Program['hosts'] {
  const { worldSize } = group;
  const said = gatherNumbers(group, localWorldSize);
  const isRegular = said.every((size) => size === localWorldSize) && worldSize % localWorldSize === 0;
  if (!isRegular || localWorldSize === worldSize) return undefined;
  return Array.from({ length: worldSize / localWorldSize }, (_, host) =>
    Array.from({ length: localWorldSize }, (__, lane) => host * localWorldSize + lane),
  );
}

/** What a configuration asks of hosts that these are not. */
export function hostNotes(
  { zero_optimization: zero }: ResolvedConfig,
  hosts: Program['hosts'],
): readonly string[] {
  if (!zero.zero_quantized_gradients || hosts !== undefined) return [];
  return [
    'zero_quantized_gradients: gradients travel in full precision, for there are no two hosts with equally many ranks; ' +
      'only what travels between hosts is quantized',
  ];
}
