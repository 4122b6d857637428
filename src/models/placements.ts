import type { Placement } from '../nn/tensor-axis.js';

/** On every rank of a tensor axis, and acting on the residual stream. */
export const EVERYWHERE: Placement = { by: 'replicated' };

/** On every rank, and acting on the heads that the rank has. */
export const INSIDE: Placement = { by: 'replicated', inside: true };

/** Tables over tokens. */
export const VOCABULARY: Placement = { by: 'vocabulary' };
