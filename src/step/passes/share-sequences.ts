import { membersOf, type Pass } from '../program.js';

/**
 * Context parallelism (DeepSpeed-Ulysses, arXiv 2309.14509) lives in attention: what ranks that share sequences exchange
 * there, they do within a block. Each has the gradients of its own positions, which the sums along the data axis bring
 * together like those of different sequences, so that the program has nothing to do but say it.
 */
export const shareSequences: Pass = (program) => {
  const { length: ranks } = membersOf(program, 'sequence');
  return ranks === 0
    ? program
    : { ...program, features: [...program.features, `sequence parallel ${ranks}`] };
};
