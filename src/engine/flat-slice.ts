import type { FlatRange } from '../nn/flat-layout.js';
import { type FlatSlice, isStored } from '../tensor/flat-store.js';
import { empty } from '../tensor/generated/functions.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import type { ParameterSource } from './fill-parameters.js';

/** Elements that pass through memory at once on their way to another tier. */
const FILLED_TOGETHER = 1 << 22;

/** Copies elements from `start` on into a flat tensor. */
export function readSlice(slice: FlatSlice, start: number, target: Tensor): void {
  if (isStored(slice)) slice.read(target, start).wait();
  else target.copy_(slice.narrow(0, start, target.elements));
}

/** Fills elements [start, end) of a slice; the source counts from `start`. */
export function fillSlice(slice: FlatSlice, { start, end }: FlatRange, source: ParameterSource): void {
  if (!isStored(slice)) {
    source(slice.narrow(0, start, end - start), 0);
    return;
  }
  for (let from = start; from < end; from += FILLED_TOGETHER) {
    const length = Math.min(FILLED_TOGETHER, end - from);
    scope(() => {
      const part = empty([length], { dtype: slice.dtype });
      source(part, from - start);
      slice.write(part, from).wait();
    });
  }
}
