/**
 * Which ranks share a host: the hosts in the order of their first ranks, the ranks of each in ascending order. Every
 * rank is there once. A "host" is what ranks reach each other in quickly; one machine may act as several.
 */
export type Hosts = readonly (readonly number[])[];

/** Hosts of so many ranks each, one after the other; the last has those that are left. */
export function hostsOfSize(worldSize: number, ranksPerHost: number): Hosts {
  return Array.from({ length: Math.ceil(worldSize / ranksPerHost) }, (_, host) => {
    const first = host * ranksPerHost;
    return Array.from({ length: Math.min(ranksPerHost, worldSize - first) }, (_rank, index) => first + index);
  });
}

/** The hosts of ranks that each say the name of theirs. */
function hostsByName(names: readonly string[]): Hosts {
  const hosts = new Map<string, number[]>();
  for (const [rank, name] of names.entries()) hosts.set(name, [...(hosts.get(name) ?? []), rank]);
  return [...hosts.values()];
}

/** The same where every rank also says how many are on its host; undefined where that is not so. */
export function agreedHosts(
  said: readonly { readonly name: string; readonly ranks: number }[],
): Hosts | undefined {
  const hosts = hostsByName(said.map(({ name }) => name));
  return hosts.every((ranks) => ranks.every((rank) => said[rank]?.ranks === ranks.length))
    ? hosts
    : undefined;
}

/** How `communication.topology` writes it: ranks for each host, or the ranks of every host. */
export type TopologySetting = { readonly ranks_per_host: number } | readonly (readonly number[])[];

/** What a setting means for so many ranks, which it must fit (see `topologyFault`). */
export function hostsOf(setting: TopologySetting, worldSize: number): Hosts {
  if ('ranks_per_host' in setting) return hostsOfSize(worldSize, setting.ranks_per_host);
  return setting
    .map((ranks) => [...ranks].sort((left, right) => left - right))
    .sort(([left = 0], [right = 0]) => left - right);
}

/** What is wrong with a setting for so many ranks; undefined where each is on one host. */
export function topologyFault(setting: TopologySetting, worldSize: number): string | undefined {
  if ('ranks_per_host' in setting) return undefined;
  const ranks = setting.flat();
  const twice = ranks.find((rank, index) => ranks.indexOf(rank) !== index);
  if (twice !== undefined) return `rank ${twice} is there twice`;
  const strange = ranks.find((rank) => rank >= worldSize);
  if (strange !== undefined) return `there is no rank ${strange} among ${worldSize}`;
  const missing = Array.from({ length: worldSize }, (_, rank) => rank).find((rank) => !ranks.includes(rank));
  return missing === undefined ? undefined : `rank ${missing} is on no host`;
}

/** Where some of the ranks are, by their positions among these. */
export function hostsAmong(hosts: Hosts, members: readonly number[]): Hosts {
  return hosts
    .map((ranks) => members.flatMap((member, index) => (ranks.includes(member) ? [index] : [])))
    .filter(({ length }) => length > 0)
    .sort(([left = 0], [right = 0]) => left - right);
}

/** The position among the hosts of the one that a rank is on. */
export function hostIndex(hosts: Hosts, rank: number): number {
  return hosts.findIndex((ranks) => ranks.includes(rank));
}

/**
 * As many ranks as every host has. The ranks at one position on each host are a lane: what goes between hosts goes
 * along the lanes.
 */
export function lanesOf(hosts: Hosts): number {
  return Math.min(...hosts.map(({ length }) => length));
}

/** The ranks of a lane, by host. */
export function laneMembers(hosts: Hosts, lane: number): readonly number[] {
  return hosts.flatMap((host) => host.slice(lane, lane + 1));
}

/** Whether all hosts have as many ranks, which follow one another. */
export function isRegular(hosts: Hosts): boolean {
  const [{ length } = []] = hosts;
  return hosts.every(
    (ranks) =>
      ranks.length === length &&
      ranks.every((rank, index) => index === 0 || rank === (ranks[index - 1] ?? 0) + 1),
  );
}
