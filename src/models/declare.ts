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

/** The weight of a linear layer: [outputs, inputs], as torch.nn.Linear stores it. */
export function projection(
  name: string,
  shape: readonly [outputs: number, inputs: number],
  std: number,
): ParameterDeclaration {
  return { ...matrix(name, shape, std), linear: 'outputs × inputs' };
}

/** The weight of a linear layer: [inputs, outputs], as `Conv1D` in GPT-2 stores it. */
export function transposedProjection(
  name: string,
  shape: readonly [inputs: number, outputs: number],
  std: number,
): ParameterDeclaration {
  return { ...matrix(name, shape, std), linear: 'inputs × outputs' };
}

/** A vector that is added, and starts at zero. */
export function bias(name: string, size: number): ParameterDeclaration {
  return { name, shape: [size], initializer: ZERO };
}

/** A vector that scales, and starts at one. */
export function gain(name: string, size: number): ParameterDeclaration {
  return { name, shape: [size], initializer: ONE };
}

/** The name of a layer's matrix. */
export function weightOf(layer: string): string {
  return `${layer}.weight`;
}

/** The name of the vector that a layer adds. */
export function biasOf(layer: string): string {
  return `${layer}.bias`;
}
