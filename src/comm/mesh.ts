/**
 * The axes along which ranks divide the work: stages of the model, parts of the batch, parts of every layer. In this
 * order: ranks that follow one another share a tensor group, which talks most.
 */
export const MESH_AXES = ['pipeline', 'data', 'tensor'] as const;

export type MeshAxis = (typeof MESH_AXES)[number];

/** How many ranks there are along each axis; their product is the world size. Also a place in it, from 0. */
export type Mesh = Readonly<Record<MeshAxis, number>>;

/** Along the data axis lies what the other two leave. */
export function meshOf(
  { pipeline, tensor }: { readonly pipeline: number; readonly tensor: number },
  worldSize: number,
): Mesh {
  return { pipeline, data: worldSize / (pipeline * tensor), tensor };
}

/** Where a rank is along each axis. */
export function placeOf(mesh: Mesh, rank: number): Mesh {
  const { data, tensor } = mesh;
  return {
    pipeline: Math.floor(rank / (data * tensor)),
    data: Math.floor(rank / tensor) % data,
    tensor: rank % tensor,
  };
}

/** The rank at a place. */
export function rankAt({ data, tensor }: Mesh, place: Mesh): number {
  return (place.pipeline * data + place.data) * tensor + place.tensor;
}

/** Of ranks in runs of equally many neighbours, those of this rank's run, and those at its place in every run. */
export interface Neighbourhood {
  readonly neighbours: readonly number[];
  readonly counterparts: readonly number[];
}

/** Cuts ranks into runs of `size` that follow one another. */
export function neighbourhoodOf(ranks: readonly number[], rank: number, size: number): Neighbourhood {
  const index = ranks.indexOf(rank);
  const run = Math.floor(index / size);
  return {
    neighbours: ranks.slice(run * size, (run + 1) * size),
    counterparts: ranks.filter((_, other) => other % size === index % size),
  };
}

/** The ranks that differ from this one along one axis alone, itself included, in the order of the axis. */
export function axisRanks(mesh: Mesh, rank: number, axis: MeshAxis): readonly number[] {
  const place = placeOf(mesh, rank);
  return Array.from({ length: mesh[axis] }, (_, index) => rankAt(mesh, { ...place, [axis]: index }));
}

/**
 * Of the ranks along the data axis those that work on the same sequences as this one: every `size` of them that follow
 * one another, itself included.
 */
export function sequenceRanks(mesh: Mesh, rank: number, size: number): readonly number[] {
  const first = Math.floor(placeOf(mesh, rank).data / size) * size;
  return axisRanks(mesh, rank, 'data').slice(first, first + size);
}
