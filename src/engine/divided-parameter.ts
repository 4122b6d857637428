import { invariant } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import { ownRuns } from '../nn/divide.js';
import type { Division, Run } from '../nn/tensor-axis.js';
import { empty, zeros } from '../tensor/generated/functions.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import type { ParameterSource } from './fill-parameters.js';

/** Of a whole parameter so many elements are read at once, in whole rows. */
const READ_TOGETHER = 1 << 20;

/** A parameter as [rows before the divided dimension, along it, elements behind it]. */
function strideOf({ shape, dimension = 0 }: Division): { readonly rows: number; readonly inner: number } {
  const product = (sizes: readonly number[]): number => sizes.reduce((all, size) => all * size, 1);
  return { rows: product(shape.slice(0, dimension)), inner: product(shape.slice(dimension + 1)) };
}

/** A rank's part of a parameter, element by element, out of what the whole parameter is filled from. */
export function partOf(
  source: ParameterSource,
  division: Division,
  shape: readonly number[],
): ParameterSource {
  const { dimension, shape: whole } = division;
  if (dimension === undefined) return source;
  const { inner } = strideOf(division);
  const [wholeRow, ownRow] = [(whole[dimension] ?? 0) * inner, (shape[dimension] ?? 0) * inner];
  const runs = ownRuns(division);
  return (target, offset) => {
    const end = offset + target.elements;
    const together = Math.max(1, Math.floor(READ_TOGETHER / wholeRow));
    for (let row = Math.floor(offset / ownRow); row * ownRow < end; row += together) {
      const rows = Math.min(together, Math.ceil(end / ownRow) - row);
      scope(() => {
        const own = ownRows(source, { row, rows, wholeRow, ownRow, inner }, runs, target);
        copyOverlap(target, offset, own, row * ownRow);
      });
    }
  };
}

interface Rows {
  readonly row: number;
  readonly rows: number;
  readonly wholeRow: number;
  readonly ownRow: number;
  readonly inner: number;
}

/** The rank's part of some rows, flat. Of a single row no more is read than it has. */
function ownRows(
  source: ParameterSource,
  { row, rows, wholeRow, ownRow, inner }: Rows,
  runs: readonly Run[],
  { dtype, device }: Tensor,
): Tensor {
  const own = zeros([rows, ownRow], { dtype, device });
  const whole = rows === 1 ? undefined : empty([rows, wholeRow], { dtype, device });
  if (whole !== undefined) source(whole.view([-1]), row * wholeRow);
  let place = 0;
  for (const { start, length } of runs) {
    const part = own.narrow(1, place, length * inner);
    if (whole !== undefined) part.copy_(whole.narrow(1, start * inner, length * inner));
    else source(part.view([-1]), row * wholeRow + start * inner);
    place += length * inner;
  }
  return own.view([-1]);
}

function copyOverlap(target: Tensor, targetStart: number, from: Tensor, fromStart: number): void {
  const start = Math.max(targetStart, fromStart);
  const length = Math.min(targetStart + target.elements, fromStart + from.elements) - start;
  if (length > 0)
    target.narrow(0, start - targetStart, length).copy_(from.narrow(0, start - fromStart, length));
}

/** The whole parameter on every rank of the axis, of which each has its part. Every rank must call it. */
export function joinParts(group: ProcessGroup, own: Tensor, division: Division): Tensor {
  const { dimension, shape, runs } = division;
  if (dimension === undefined) return own;
  const { dtype, device } = own;
  const parts = empty([group.worldSize, ...own.shape], { dtype, device });
  group.allGather(parts, own.contiguous()).wait();
  const whole = empty(shape, { dtype, device });
  for (const [rank, ofRank] of runs.entries()) {
    let place = 0;
    for (const { start, length } of ofRank) {
      whole.narrow(dimension, start, length).copy_(parts.select(0, rank).narrow(dimension, place, length));
      place += length;
    }
  }
  invariant(runs.length === group.worldSize, 'a parameter is divided for another number of ranks');
  return whole;
}
