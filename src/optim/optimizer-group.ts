import { DTYPES } from '../tensor/dtype.js';
import type { FlatSlice } from '../tensor/flat-store.js';
import type { Tensor } from '../tensor/tensor.js';
import type { OptimizerConfig } from './config.js';
import { createOptimizer, type Optimizer, type OptimizerMemory, type OptimizerUpdate } from './optimizer.js';

/** The optimizer of a rank, wherever what it works on lies. */
export interface TrainingOptimizer extends Pick<Optimizer, 'step'> {
  /** By name, one flat slice per piece of the rank's memory, in their order. */
  readonly states: ReadonlyMap<string, readonly FlatSlice[]>;
  /** What it keeps between updates. */
  readonly bytes: number;
  /** [all elements]: the first moment of all pieces, where ranks exchange it. */
  readonly momentum?: Tensor | undefined;
  /** Frees the memory of its own. */
  dispose(): void;
}

/** One update rule over memory in several pieces: the slices that a rank owns, or a single one of everything. */
export class OptimizerGroup implements TrainingOptimizer {
  readonly states: ReadonlyMap<string, readonly Tensor[]>;
  /** [all elements]: the first moment of all pieces, where ranks exchange it; this group's to free. */
  readonly momentum: Tensor | undefined;
  readonly #optimizers: readonly Optimizer[];

  /** @param momentum what the pieces have their first moments in */
  constructor(config: OptimizerConfig, pieces: readonly OptimizerMemory[], momentum?: Tensor) {
    this.momentum = momentum;
    this.#optimizers = pieces.map((memory) => createOptimizer(config, memory));
    const names = [...(this.#optimizers[0]?.states.keys() ?? [])];
    this.states = new Map(
      names.map((name) => [name, this.#optimizers.flatMap(({ states }) => states.get(name) ?? [])]),
    );
  }

  get bytes(): number {
    const states = [...this.states].flatMap(([name, tensors]) =>
      name === 'exp_avg' && this.momentum !== undefined ? [this.momentum] : tensors,
    );
    return states.reduce((sum, { elements, dtype }) => sum + elements * DTYPES[dtype].bytes, 0);
  }

  /** Updates all pieces in place. */
  step(update: OptimizerUpdate): void {
    for (const optimizer of this.#optimizers) optimizer.step(update);
  }

  /** Frees the states. */
  dispose(): void {
    for (const tensor of [...this.states.values()].flat()) tensor.dispose();
    this.momentum?.dispose();
  }
}
