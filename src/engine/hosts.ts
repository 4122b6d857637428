import type { ProcessGroup } from '../comm/process-group.js';
import { type Hosts, hostsOf, hostsOfSize, type TopologySetting } from '../comm/topology.js';
import type { Program } from '../step/program.js';
import type { ResolvedConfig } from './config.js';
import { gatherNumbers } from './gather-bytes.js';

/**
 * The ranks of each host, where there are several with equally many; else undefined. Every rank must call it.
 *
 * @param localWorldSize the number of ranks on this one's host, which follow one another
 * @param topology what the configuration says instead
 */
export function regularHosts(
  group: ProcessGroup,
  localWorldSize: number,
  topology: TopologySetting | undefined,
): Program['hosts'] {
  const { worldSize } = group;
  if (topology !== undefined) return severalEqualHosts(hostsOf(topology, worldSize));
  const isOfAll = gatherNumbers(group, localWorldSize).every((size) => size === localWorldSize);
  return isOfAll ? severalEqualHosts(hostsOfSize(worldSize, localWorldSize)) : undefined;
}

/** The hosts, if there are several with equally many ranks. */
export function severalEqualHosts(hosts: Hosts): Program['hosts'] {
  const [first] = hosts;
  return hosts.length > 1 && hosts.every(({ length }) => length === first?.length) ? hosts : undefined;
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
