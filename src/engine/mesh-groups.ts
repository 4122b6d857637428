import { axisRanks, MESH_AXES, type Mesh, type MeshAxis, sequenceRanks } from '../comm/mesh.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { Ranks } from '../comm/rendezvous.js';
import type { Hosts } from '../comm/topology.js';

/** The ranks that this one works with along each axis of the mesh. */
export interface MeshGroups extends Readonly<Record<MeshAxis, ProcessGroup>> {
  /** Of those along the data axis the ones that work on the same sequences; absent where sequences are whole. */
  readonly sequence?: ProcessGroup;
}

/**
 * Connects this rank with those along each axis. An axis that has all ranks is the world's own group. Every rank must
 * call it.
 *
 * @param sequenceSize ranks that work on the same sequences
 */
export function connectMesh(
  { world, among }: Ranks,
  mesh: Mesh,
  hosts: Hosts | undefined,
  sequenceSize = 1,
): MeshGroups {
  const connect = (axis: MeshAxis): ProcessGroup => {
    const members = axisRanks(mesh, world.rank, axis);
    return members.length === world.worldSize ? world : among(axis, members, hosts);
  };
  const [pipeline, data, tensor] = MESH_AXES;
  const axes = { [pipeline]: connect(pipeline), [data]: connect(data), [tensor]: connect(tensor) };
  if (sequenceSize === 1) return axes;
  // A group of their own even where it has all ranks: attention does not wait for sums of gradients that are under way.
  return { ...axes, sequence: among('sequence', sequenceRanks(mesh, world.rank, sequenceSize), hosts) };
}

/** What this rank has handed to others so far, in all of its groups, in bytes. */
export function exchangedBytes(group: ProcessGroup, axes: MeshGroups): number {
  return [...new Set([group, ...groupsOf(axes)])].reduce((sum, each) => sum + each.exchangedBytes, 0);
}

/** Leaves the groups along the axes, and then that of all ranks. */
export function closeMesh(group: ProcessGroup, axes: MeshGroups): void {
  for (const each of groupsOf(axes)) if (each !== group) each.close();
  group.close();
}

function groupsOf(axes: MeshGroups): readonly ProcessGroup[] {
  return [...MESH_AXES.map((axis) => axes[axis]), ...(axes.sequence === undefined ? [] : [axes.sequence])];
}
