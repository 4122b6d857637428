import { RUN_ID_VARIABLE, SUPERVISED_VARIABLE } from './environment.js';
import type { ThreadBudget } from './threads.js';
import type { Variables } from './variables.js';

/** Where the ranks of one host stand in a run, which may have other hosts. */
export interface HostPlace {
  /** Position of this host among all. */
  readonly host: number;
  /** The number of its first rank; the others follow. */
  readonly firstRank: number;
  readonly worldSize: number;
  readonly masterAddress: string;
  readonly masterPort: number;
  /** 128 random bits, written in hexadecimal: the prefix of every key in the store. */
  readonly runId: string;
  /** Network interface towards the other hosts, such as "lo"; empty: the one of the host's own name. */
  readonly networkInterface: string;
}

/** The environments of the ranks of a host: what they inherit, and what is theirs alone. */
export function rankVariables(
  ranks: number,
  inherited: Variables,
  budget: ThreadBudget,
  place: HostPlace,
): readonly Readonly<Record<string, string>>[] {
  const kept = Object.entries(inherited).flatMap(([name, value]) =>
    value === undefined || name.startsWith('TORCHELASTIC_') ? [] : [[name, value] as const],
  );
  const common = {
    ...Object.fromEntries(kept),
    ...budget.variables,
    GLOO_SOCKET_IFNAME: place.networkInterface,
    WORLD_SIZE: String(place.worldSize),
    LOCAL_WORLD_SIZE: String(ranks),
    GROUP_RANK: String(place.host),
    MASTER_ADDR: place.masterAddress,
    MASTER_PORT: String(place.masterPort),
    [RUN_ID_VARIABLE]: place.runId,
    [SUPERVISED_VARIABLE]: '1',
  };
  return Array.from({ length: ranks }, (_, localRank) => ({
    ...common,
    RANK: String(place.firstRank + localRank),
    LOCAL_RANK: String(localRank),
  }));
}
