import { join } from 'node:path';
import { env } from '../base/env.js';
import { Flight } from '../comm/flight/flight.js';
import { axisRanks, type Mesh, meshOf } from '../comm/mesh.js';
import type { ProcessGroup } from '../comm/process-group.js';
import { meetRanks } from '../comm/rendezvous.js';
import { hostsAmong, hostsOf } from '../comm/topology.js';
import type { RankEnvironment } from '../launch/environment.js';
import { threadBudget } from '../launch/threads.js';
import type { TensorAxis } from '../nn/tensor-axis.js';
import type { Program } from '../step/program.js';
import type { Device } from '../tensor/dtype.js';
import { setThreads } from '../tensor/threads.js';
import type { ResolvedConfig } from './config.js';
import { deviceOf } from './device.js';
import { groupAxis } from './group-axis.js';
import { hostsOfRanks, severalEqualHosts } from './hosts.js';
import { connectMesh, type MeshGroups } from './mesh-groups.js';

/** This process among the ranks: how it reaches them, and what it computes on. */
export interface World {
  /** All ranks. */
  readonly group: ProcessGroup;
  readonly mesh: Mesh;
  /** Those along each axis of the mesh. */
  readonly axes: MeshGroups;
  /** Connects some of the ranks; as `Ranks.among`, whichever hosts they are on. */
  readonly among: (name: string, members: readonly number[]) => ProcessGroup;
  /** Remembers its collectives; absent in a world of one. */
  readonly flight?: Flight | undefined;
  readonly device: Device;
  /** Of the ranks along the data axis those of each host, where there are several with equally many. */
  readonly hosts?: Program['hosts'];
  /** What came otherwise than it might have. */
  readonly notes?: readonly string[];
}

/**
 * Takes this process's place among the ranks, and its share of the cores.
 *
 * @throws TrainyardError RENDEZVOUS_FAILED, or CONFIG_CONFLICT without a device for this rank.
 */
export function joinWorld(
  config: Pick<ResolvedConfig, 'communication' | 'device'> &
    Partial<Pick<ResolvedConfig, 'output' | 'mesh' | 'redundancy' | 'sequence_parallel_size'>>,
  place: RankEnvironment,
): World {
  const { cores, threadsPerRank } = threadBudget(place.localWorldSize, env.variables);
  setThreads(threadsPerRank);
  const device = deviceOf(config.device, place.localRank);
  const timeoutMs = config.communication.timeout_seconds * 1000;
  const { algorithm, topology, deterministic } = config.communication;
  const notes: string[] = [];
  const exchange = {
    ...place,
    // What is on a GPU is in no memory that processes share.
    algorithm: device === 'cpu' ? algorithm : 'backend',
    hosts: topology && hostsOf(topology, place.worldSize),
    inOrder: deterministic,
    onNote: (note: string): void => void notes.push(note),
    cores,
    threadsPerRank,
  } as const;
  const flight = place.worldSize === 1 ? undefined : openFlight(config.output, place);
  const ranks = meetRanks({ ...place, timeoutMs, flight, exchange });
  const { world: group } = ranks;
  const mesh = meshOf(config.mesh ?? { pipeline: 1, tensor: 1 }, place.worldSize);
  const hosts = hostsOfRanks(group, place, topology);
  const axes = connectMesh(ranks, mesh, config, hosts);
  const regular = severalEqualHosts(hostsAmong(hosts, axisRanks(mesh, place.rank, 'data')));
  const among = (name: string, members: readonly number[]) => ranks.among(name, members, hosts);
  return { group, mesh, axes, among, flight, device, ...(regular && { hosts: regular }), notes };
}

function openFlight(output: string | undefined, { runId: run, rank, worldSize }: RankEnvironment): Flight {
  return new Flight({ run, rank, worldSize }, output && join(output, 'flight'));
}

/** The axis over which the matrices of this rank's layers are divided; undefined where they are whole. */
export function tensorAxis({ mesh }: Pick<ResolvedConfig, 'mesh'>, { axes }: World): TensorAxis | undefined {
  return mesh.tensor === 1 ? undefined : groupAxis(axes.tensor, mesh.sequence_parallel);
}
