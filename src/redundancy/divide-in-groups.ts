import { neighbourhoodOf } from '../comm/mesh.js';
import type { Pass } from '../step/program.js';

/**
 * Training state is divided inside groups of neighbours along the data axis, and every group has all of it (MiCS, arXiv
 * 2205.00119; DeepSpeed: mics_shard_size): the ranks of its group are a rank's data-parallel ranks, over which the passes
 * after this one divide, gather and scatter; `sumOverGroups` adds what is left to the ranks of the other groups.
 *
 * Where there is one group the program stays as it is.
 *
 * @param size ranks of a group; a divisor of the number of data-parallel ranks
 */
export function divideInGroups(size: number): Pass {
  return (program) => {
    const { data } = program.groups;
    if (data.length <= size) return program;
    const { neighbours, counterparts } = neighbourhoodOf(data, program.rank, size);
    return {
      ...program,
      groups: { ...program.groups, data: neighbours, replicate: counterparts },
      features: [...program.features, `${counterparts.length} groups`],
    };
  };
}
