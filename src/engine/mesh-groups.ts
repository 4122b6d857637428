import { axisRanks, MESH_AXES, type Mesh, type MeshAxis } from '../comm/mesh.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { Ranks } from '../comm/rendezvous.js';
import type { Hosts } from '../comm/topology.js';

/** The ranks that this one works with along each axis of the mesh. */
export type MeshGroups = Readonly<Record<MeshAxis, ProcessGroup>>;

/**
 * Connects this rank with those along each axis. An axis that has all ranks is the world's own group. Every rank must
 * call it.
 */
export function connectMesh({ world, among }: Ranks, mesh: Mesh, hosts: Hosts | undefined): MeshGroups {
  const connect = (axis: MeshAxis): ProcessGroup => {
    const members = axisRanks(mesh, world.rank, axis);
    return members.length === world.worldSize ? world : among(axis, members, hosts);
  };
  const [pipeline, data, tensor] = MESH_AXES;
  return { [pipeline]: connect(pipeline), [data]: connect(data), [tensor]: connect(tensor) };
}

/** What this rank has handed to others so far, in all of its groups, in bytes. */
export function exchangedBytes(group: ProcessGroup, axes: MeshGroups): number {
  const groups = new Set([group, ...MESH_AXES.map((axis) => axes[axis])]);
  return [...groups].reduce((sum, each) => sum + each.exchangedBytes, 0);
}

/** Leaves the groups along the axes, and then that of all ranks. */
export function closeMesh(group: ProcessGroup, axes: MeshGroups): void {
  for (const axis of MESH_AXES) if (axes[axis] !== group) axes[axis].close();
  group.close();
}
