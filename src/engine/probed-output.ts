import type { Activations } from '../nn/block.js';
import type { DType } from '../tensor/dtype.js';

/** What is remembered of an output: its tensors' shapes, by name. */
export type ProbedOutput = ReadonlyMap<string, { readonly dtype: DType; readonly shape: readonly number[] }>;

export function probedOutput(output: Activations): ProbedOutput {
  return new Map(
    Object.entries(output).map(([name, { dtype, shape }]) => [name, { dtype, shape: [...shape] }]),
  );
}
