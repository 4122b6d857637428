import type { Initializer, ParameterDeclaration } from '../nn/parameter.js';

const ZERO: Initializer = { kind: 'constant', value: 0 };
const ONE: Initializer = { kind: 'constant', value: 1 };

/** A matrix that starts normally distributed around zero. */
export function matrix(name: string, shape: readonly [number, number], std: number): ParameterDeclaration {
  return { name, shape, initializer: { kind: 'normal', mean: 0, std } };
}

/** A vector that is added, and starts at zero. */
export function bias(name: string, size: number): ParameterDeclaration {
  return { name, shape: [size], initializer: ZERO };
}

/** A vector that scales, and starts at one. */
export function gain(name: string, size: number): ParameterDeclaration {
  return { name, shape: [size], initializer: ONE };
}
