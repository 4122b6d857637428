import type { ProcessGroup } from '../comm/process-group.js';
import { agreedHosts, type Hosts, hostsOf, type TopologySetting } from '../comm/topology.js';
import type { RankEnvironment } from '../launch/environment.js';
import type { Program } from '../step/program.js';
import type { ResolvedConfig } from './config.js';
import { gatherText } from './gather-bytes.js';

/**
 * The ranks of each host. Every rank must call it.
 *
 * @param place what the launcher says of this rank
 * @param topology what the configuration says instead
 */
export function hostsOfRanks(
  group: ProcessGroup,
  { hostName, localWorldSize }: Pick<RankEnvironment, 'hostName' | 'localWorldSize'>,
  topology: TopologySetting | undefined,
): Hosts {
  const { worldSize } = group;
  if (topology !== undefined) return hostsOf(topology, worldSize);
  const said = gatherText(group, JSON.stringify([hostName, localWorldSize])).map((text) => {
    const [name, ranks] = JSON.parse(text) as readonly [string, number];
    return { name, ranks };
  });
  return agreedHosts(said) ?? [said.map((_, rank) => rank)];
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
