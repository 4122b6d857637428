import { range } from '../range.js';
import type { Schedule } from './turn.js';

/**
 * All micro-batches forward, then all backward (GPipe, arXiv 1811.06965). The stages stand still for (p − 1)/m of their
 * work, and every one keeps all m micro-batches.
 */
export const gpipe: Schedule = ({ microBatches }) => [
  ...range(microBatches).map((micro) => ({ kind: 'forward', chunk: 0, micro }) as const),
  ...range(microBatches).map((micro) => ({ kind: 'backward', chunk: 0, micro }) as const),
];
