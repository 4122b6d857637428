import type { BlockCosts } from '../step/block-meter.js';

/** What the blocks took for one size of micro-batch. */
export interface CostSample {
  readonly rows: number;
  readonly length: number;
  readonly costs: readonly BlockCosts[];
}

/**
 * The costs of another size, from samples of every combination of two numbers of rows and three lengths. Bytes
 * are taken to be linear in rows and quadratic in length (attention that stores its scores). Exact for what
 * is so, which buffers of a bounded size are not.
 */
export function extrapolateCosts(
  samples: readonly CostSample[],
  { rows, length }: { readonly rows: number; readonly length: number },
): readonly BlockCosts[] {
  const rowsOf = [...new Set(samples.map((sample) => sample.rows))];
  const lengthsOf = [...new Set(samples.map((sample) => sample.length))];
  // Lagrange's form of the polynomial through the samples: a weight for each, the same for every quantity.
  const weights = samples.map(
    (sample) => lagrange(rowsOf, sample.rows, rows) * lagrange(lengthsOf, sample.length, length),
  );
  const at = (block: number, quantity: (costs: BlockCosts) => number): number => {
    const sum = samples.reduce((total, { costs }, index) => {
      const cost = costs[block];
      return total + (cost === undefined ? 0 : (weights[index] ?? 0) * quantity(cost));
    }, 0);
    return Math.max(0, Math.round(sum));
  };
  return (samples[0]?.costs ?? []).map(({ deferredBytes }, block) => ({
    activationBytes: at(block, (costs) => costs.activationBytes),
    outputBytes: at(block, (costs) => costs.outputBytes),
    workspace: {
      forward: at(block, ({ workspace }) => workspace.forward),
      drop: at(block, ({ workspace }) => workspace.drop),
      backward: at(block, ({ workspace }) => workspace.backward),
      ...(deferredBytes !== undefined && {
        backwardInput: at(block, ({ workspace }) => workspace.backwardInput ?? 0),
        backwardWeights: at(block, ({ workspace }) => workspace.backwardWeights ?? 0),
      }),
    },
    ...(deferredBytes !== undefined && {
      deferredBytes: at(block, (costs) => costs.deferredBytes ?? 0),
    }),
    forwardMs: at(block, (costs) => costs.forwardMs),
  }));
}

/** The polynomial that is 1 at `own` and 0 at the other points. */
function lagrange(points: readonly number[], own: number, x: number): number {
  return points
    .filter((point) => point !== own)
    .reduce((product, point) => product * ((x - point) / (own - point)), 1);
}
