import { SingleGroup } from '../src/comm/process-group/single.js';
import type { ProcessGroup } from '../src/comm/process-group.js';
import type { ResolvedConfig } from '../src/engine/config.js';
import { joinWorld, type World } from '../src/engine/world.js';
import type { RankEnvironment } from '../src/launch/environment.js';

/** Whatever a test program is told of its place, by `run-ranks.ts`. */
export interface RankPlace {
  readonly rank: number;
  readonly worldSize: number;
  readonly port: number;
}

/**
 * Joins the other ranks as `train` does: in shared memory, unless the configuration says otherwise.
 *
 * @param ranksPerHost left out: all are on one host
 */
export function joinAsRank(
  config: Pick<ResolvedConfig, 'communication' | 'device'> & Partial<Pick<ResolvedConfig, 'redundancy'>>,
  place: RankPlace,
  ranksPerHost = place.worldSize,
): World {
  return joinWorld(config, environmentOf(place, ranksPerHost));
}

/** A world in which every rank has the whole model. */
export function worldOf(group: ProcessGroup): World {
  const axes = { pipeline: new SingleGroup(), data: group, tensor: new SingleGroup(), shard: group };
  const among = (): ProcessGroup => new SingleGroup();
  return { group, among, mesh: { pipeline: 1, data: group.worldSize, tensor: 1 }, axes, device: 'cpu' };
}

/** What a launcher would have said to this rank. */
export function environmentOf(
  { rank, worldSize, port }: RankPlace,
  ranksPerHost = worldSize,
): RankEnvironment {
  return {
    rank,
    worldSize,
    localRank: rank % ranksPerHost,
    localWorldSize: ranksPerHost,
    hostName: `host ${Math.floor(rank / ranksPerHost)}`,
    masterAddress: '127.0.0.1',
    masterPort: port,
    runId: 'test/0',
    storeIsHosted: false,
    networkInterface: 'lo',
    errorFile: undefined,
    source: 'launcher',
  };
}
