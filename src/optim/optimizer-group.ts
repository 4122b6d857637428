import type { Tensor } from '../tensor/tensor.js';
import type { OptimizerConfig } from './config.js';
import { createOptimizer, type Optimizer, type OptimizerMemory, type OptimizerUpdate } from './optimizer.js';

/** One update rule over memory in several pieces: the slices that a rank owns, or a single one of everything. */
export class OptimizerGroup implements Pick<Optimizer, 'step'> {
  /** By name, one flat tensor per piece, in their order. */
  readonly states: ReadonlyMap<string, readonly Tensor[]>;
  readonly #optimizers: readonly Optimizer[];

  constructor(config: OptimizerConfig, pieces: readonly OptimizerMemory[]) {
    this.#optimizers = pieces.map((memory) => createOptimizer(config, memory));
    const names = [...(this.#optimizers[0]?.states.keys() ?? [])];
    this.states = new Map(
      names.map((name) => [name, this.#optimizers.flatMap(({ states }) => states.get(name) ?? [])]),
    );
  }

  /** Updates all pieces in place. */
  step(update: OptimizerUpdate): void {
    for (const optimizer of this.#optimizers) optimizer.step(update);
  }

  /** Frees the states. */
  dispose(): void {
    for (const tensor of [...this.states.values()].flat()) tensor.dispose();
  }
}
