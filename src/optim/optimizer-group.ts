import { invariant } from '../base/errors.js';
import { noGrad } from '../tensor/autograd.js';
import { DTYPES } from '../tensor/dtype.js';
import type { FlatSlice } from '../tensor/flat-store.js';
import { zeros } from '../tensor/generated/functions.js';
import { keep, type Tensor } from '../tensor/tensor.js';
import type { OptimizerConfig } from './config.js';
import type { OptimizerUpdate, UpdatePiece, UpdateRule } from './optimizer/update-rule.js';
import { createUpdateRule, type Optimizer, type OptimizerMemory } from './optimizer.js';
import type { PendingUpdate } from './pending-update.js';

/** The optimizer of a rank, wherever what it works on lies. */
export interface TrainingOptimizer extends Optimizer {
  /** By torch's names ("exp_avg"), one flat slice per piece of the rank's memory, in their order. */
  readonly states: ReadonlyMap<string, readonly FlatSlice[]>;
  /** What it keeps between updates. */
  readonly bytes: number;
  /** [all elements]: the first moment of all pieces, where ranks exchange it. */
  readonly momentum?: Tensor | undefined;
  /** What it has left to the next step; absent where each step makes its own update. */
  readonly pending?: PendingUpdate;
  /** Frees the memory of its own. */
  dispose(): void;
}

/**
 * One update rule over memory in several pieces: the slices that a rank owns, or a single one of everything. Its states
 * start as zeros and are kept until disposed.
 */
export class OptimizerGroup implements TrainingOptimizer {
  readonly states: ReadonlyMap<string, readonly Tensor[]>;
  /** [all elements]: the first moment of all pieces, where ranks exchange it; this group's to free. */
  readonly momentum: Tensor | undefined;
  readonly #rule: UpdateRule;
  readonly #pieces: readonly UpdatePiece[];

  /** @param momentum what the pieces have their first moments in */
  constructor(config: OptimizerConfig, memories: readonly OptimizerMemory[], momentum?: Tensor) {
    const rule = createUpdateRule(config);
    this.momentum = momentum;
    this.#rule = rule;
    this.#pieces = memories.map((memory) => ({
      parameters: memory.parameters,
      gradients: memory.gradients,
      states: rule.stateNames.map((name) => firstState(name, memory)),
    }));
    this.states = new Map(
      rule.stateNames.map((name, index) => [name, this.#pieces.flatMap(({ states }) => states[index] ?? [])]),
    );
  }

  get bytes(): number {
    const states = [...this.states].flatMap(([name, tensors]) =>
      name === 'exp_avg' && this.momentum !== undefined ? [this.momentum] : tensors,
    );
    return states.reduce((sum, { elements, dtype }) => sum + elements * DTYPES[dtype].bytes, 0);
  }

  /** Updates all pieces in place, in one pass. */
  step(update: OptimizerUpdate): void {
    this.#rule.update(update, this.#pieces);
  }

  /** Frees the states. */
  dispose(): void {
    for (const tensor of [...this.states.values()].flat()) tensor.dispose();
    this.momentum?.dispose();
  }
}

function firstState(name: string, { parameters, gradients, momentum }: OptimizerMemory): Tensor {
  invariant(
    parameters.elements === gradients.elements,
    'parameters and gradients of an optimizer have equal length',
  );
  return keep(name === 'exp_avg' && momentum !== undefined ? momentum.alias() : zerosLike(parameters));
}

function zerosLike({ shape, dtype, device }: Tensor): Tensor {
  return noGrad(() => zeros(shape, { dtype, device }));
}
