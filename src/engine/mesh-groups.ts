import {
  axisRanks,
  MESH_AXES,
  type Mesh,
  type MeshAxis,
  neighbourhoodOf,
  sequenceRanks,
} from '../comm/mesh.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { Ranks } from '../comm/rendezvous.js';
import type { Hosts } from '../comm/topology.js';
import type { ResolvedConfig } from './config.js';

/** The ranks that this one works with along each axis of the mesh. */
export type MeshGroups = Readonly<Record<MeshAxis, ProcessGroup>> & {
  /** Those over which training state is divided: of the data axis all, or a group of neighbours. */
  readonly shard: ProcessGroup;
  /** Those at this rank's place in every such group; absent where there is one. */
  readonly replicate?: ProcessGroup;
  /** The neighbours that divide a second copy of the parameters; absent where there is none. */
  readonly secondary?: ProcessGroup;
  /** Of those along the data axis the ones that work on the same sequences; absent where sequences are whole. */
  readonly sequence?: ProcessGroup;
};

/**
 * Connects this rank with those along each axis. An axis that has all ranks is the world's own group. Every rank must
 * call it.
 */
export function connectMesh(
  ranks: Ranks,
  mesh: Mesh,
  config: Partial<Pick<ResolvedConfig, 'redundancy' | 'sequence_parallel_size'>>,
  hosts: Hosts | undefined,
): MeshGroups {
  const { world, among } = ranks;
  const { redundancy, sequence_parallel_size: sharing = 1 } = config;
  const connect = (axis: MeshAxis): ProcessGroup => {
    const members = axisRanks(mesh, world.rank, axis);
    return members.length === world.worldSize ? world : among(axis, members, hosts);
  };
  // A group of their own even where it has all ranks: attention does not wait for sums of gradients that are under way.
  const sequence =
    sharing === 1 ? undefined : among('sequence', sequenceRanks(mesh, world.rank, sharing), hosts);
  const axes = {
    pipeline: connect('pipeline'),
    data: connect('data'),
    tensor: connect('tensor'),
    ...(sequence && { sequence }),
  };
  const isWhole = redundancy === undefined || redundancy.type === 'local' || redundancy.size >= mesh.data;
  if (isWhole) return { ...axes, shard: axes.data };
  const data = axisRanks(mesh, world.rank, 'data');
  const { neighbours, counterparts } = neighbourhoodOf(data, world.rank, redundancy.size);
  if (redundancy.type === 'secondary') {
    return { ...axes, shard: axes.data, secondary: among('secondary', neighbours, hosts) };
  }
  return {
    ...axes,
    shard: among('shard', neighbours, hosts),
    replicate: among('replicate', counterparts, hosts),
  };
}

/** Each once, whatever it is for. */
function distinctGroups(group: ProcessGroup, axes: MeshGroups): ReadonlySet<ProcessGroup> {
  const { shard, replicate, secondary, sequence } = axes;
  const more = [replicate, secondary, sequence].flatMap((each) => each ?? []);
  return new Set([...MESH_AXES.map((axis) => axes[axis]), shard, ...more, group]);
}

/** What this rank has handed to others so far, in all of its groups, in bytes. */
export function exchangedBytes(group: ProcessGroup, axes: MeshGroups): number {
  return [...distinctGroups(group, axes)].reduce((sum, each) => sum + each.exchangedBytes, 0);
}

/** Leaves the groups along the axes, and then that of all ranks. */
export function closeMesh(group: ProcessGroup, axes: MeshGroups): void {
  for (const each of distinctGroups(group, axes)) if (each !== group) each.close();
  group.close();
}
