import { cat, zeros } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import { dropout } from './dropout.js';
import { linearProduct } from './linear-product.js';
import type { LowRankUpdate } from './parameter.js';

/**
 * What updates add to a layer's product, on top of a residual stream.
 *
 * @param input [..., inputs]
 * @param updates in the order of their outputs
 * @param outputs of the whole layer
 * @returns [..., outputs], or nothing where there is nothing to add
 */
export function addUpdates(
  input: Tensor,
  updates: readonly LowRankUpdate[],
  outputs: number,
  residual: Tensor | undefined,
): Tensor | undefined {
  const [first] = updates;
  if (first === undefined) return residual;
  if (outputsOf(first) === outputs) return applied(input, first, residual);
  const gap = (width: number): readonly Tensor[] =>
    width === 0
      ? []
      : [zeros([...input.shape.slice(0, -1), width], { dtype: input.dtype, device: input.device })];
  const parts: Tensor[] = [];
  let end = 0;
  for (const update of updates) {
    parts.push(...gap(update.firstOutput - end), applied(input, update));
    end = update.firstOutput + outputsOf(update);
  }
  const sum = cat([...parts, ...gap(outputs - end)], -1);
  return residual === undefined ? sum : sum.add(residual);
}

function outputsOf({ up }: LowRankUpdate): number {
  return up.value.shape[0] ?? 0;
}

function applied(input: Tensor, update: LowRankUpdate, residual?: Tensor): Tensor {
  const { down, up, scale } = update;
  const hidden = linearProduct(dropout(input, update.dropout, true), down, {}).mul(scale);
  return linearProduct(hidden, up, { residual });
}
