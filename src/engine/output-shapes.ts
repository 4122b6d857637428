import { invariant } from '../base/errors.js';
import type { Model } from '../nn/block.js';
import type { StageLinks } from '../step/handlers/step-state.js';
import type { DType } from '../tensor/dtype.js';
import { empty } from '../tensor/generated/functions.js';
import { type MicroBatchShape, probeOutputs } from './measure-blocks.js';
import type { ProbedOutput } from './probed-output.js';

/** One dimension of an output: a number, times the rows of a micro-batch or not, times its length or not. */
interface Dimension {
  readonly factor: number;
  readonly byRows: boolean;
  readonly byLength: boolean;
}

/** What a block hands on, by name. */
type OutputShape = ReadonlyMap<string, { readonly dtype: DType; readonly dimensions: readonly Dimension[] }>;

/** Two primes and two lengths whose quotients tell every product of them apart. */
const PROBES = [
  { rows: 2, lengths: 3 },
  { rows: 3, lengths: 7 },
] as const;

/**
 * Memory for what blocks of a model hand on, for micro-batches of any size: what another stage sends is as large as what
 * this rank would have made. Found by running one block of each kind on two tiny micro-batches.
 *
 * @param divisor of the length of every sequence
 */
export function emptyOutputs(model: Model, dtype: DType, divisor: number): StageLinks['emptyOutput'] {
  const shapes = PROBES.map(({ rows, lengths }): MicroBatchShape => ({ rows, length: lengths * divisor }));
  const [first = [], second = []] = probeOutputs(model, dtype, shapes);
  const outputs = first.map((made, block) => outputShape(made, second[block] ?? made, shapes));
  return (block, { inputIds }) => {
    const [rows = 0, length = 0] = inputIds.shape;
    const shape = outputs[block];
    invariant(shape, `there is no block ${block}`);
    return Object.fromEntries(
      [...shape].map(([name, { dtype: of, dimensions }]) => [
        name,
        empty(
          dimensions.map((each) => each.factor * (each.byRows ? rows : 1) * (each.byLength ? length : 1)),
          { dtype: of, device: inputIds.device },
        ),
      ]),
    );
  };
}

function outputShape(
  first: ProbedOutput,
  second: ProbedOutput,
  probes: readonly MicroBatchShape[],
): OutputShape {
  return new Map(
    [...first].map(([name, { dtype, shape }]) => {
      const other = second.get(name)?.shape ?? shape;
      return [
        name,
        { dtype, dimensions: shape.map((size, index) => dimensionOf(size, other[index] ?? size, probes)) },
      ];
    }),
  );
}

function dimensionOf(size: number, other: number, [left, right]: readonly MicroBatchShape[]): Dimension {
  invariant(left && right, 'outputs are probed twice');
  for (const byRows of [false, true]) {
    for (const byLength of [false, true]) {
      const unit = (probe: MicroBatchShape): number =>
        (byRows ? probe.rows : 1) * (byLength ? probe.length : 1);
      if (size * unit(right) === other * unit(left)) return { factor: size / unit(left), byRows, byLength };
    }
  }
  throw new Error(`Trainyard bug: an output of ${size} and ${other} depends on more than rows and length`);
}
