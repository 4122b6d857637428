import type { Initializer, ParameterDeclaration } from '../nn/parameter.js';

const ZERO: Initializer = { kind: 'constant', value: 0 };
const ONE: Initializer = { kind: 'constant', value: 1 };

/** A matrix that starts normally distributed around zero, but for one row of zeros where that is given. */
export function matrix(
  name: string,
  shape: readonly [number, number],
  std: number,
  zeroRow?: number,
): ParameterDeclaration {
  const zero = zeroRow === undefined ? {} : { zeroRow };
  return { name, shape, initializer: { kind: 'normal', mean: 0, std, ...zero } };
}

/** A vector that is added, and starts at zero. */
export function bias(name: string, size: number): ParameterDeclaration {
  return { name, shape: [size], initializer: ZERO };
}

/** A vector that scales, and starts at one. */
export function gain(name: string, size: number): ParameterDeclaration {
  return { name, shape: [size], initializer: ONE };
}
