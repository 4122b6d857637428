import type { Algorithm } from './algorithm/algorithm.js';
import { bidirectionalRing } from './algorithm/bidirectional-ring.js';
import { halvingDoubling } from './algorithm/halving-doubling.js';
import { hierarchical } from './algorithm/hierarchical.js';
import { ring } from './algorithm/ring.js';

/** The algorithms of our own, as `communication.algorithm` names them. */
export const ALGORITHM_NAMES = ['ring', 'bidirectional-ring', 'halving-doubling', 'hierarchical'] as const;

export type AlgorithmName = (typeof ALGORITHM_NAMES)[number];

export const ALGORITHMS: Readonly<Record<AlgorithmName, Algorithm>> = {
  ring,
  'bidirectional-ring': bidirectionalRing,
  'halving-doubling': halvingDoubling,
  hierarchical,
};
