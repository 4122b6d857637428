import { invariant } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { FlatRange } from '../nn/flat-layout.js';
import type { OptimizerConfig } from '../optim/config.js';
import { optimizerStateCount } from '../optim/optimizer.js';
import { OptimizerGroup } from '../optim/optimizer-group.js';
import type { OuterOptimizer } from '../redundancy/config.js';
import type { OuterMemory } from '../step/outer-memory.js';
import { noGrad } from '../tensor/autograd.js';
import { DTYPES } from '../tensor/dtype.js';
import { zeros } from '../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import type { TrainingMemory } from './training-memory.js';

type SgdConfig = Extract<OptimizerConfig, { type: 'SGD' }>;

/** Momentum begins as zeros, so that the first update is like any other, and their number says nothing. */
const ANY_UPDATE = 2;

/** The update rule of the common weights. The mean of the replicas is what SGD comes to with a rate of 1. */
function updateRule(outer: OuterOptimizer): SgdConfig {
  const plain = { dampening: 0, nesterov: false, weight_decay: 0 };
  switch (outer.type) {
    case 'average':
      return { type: 'SGD', params: { ...plain, lr: 1, momentum: 0 } };
    case 'nesterov': {
      const { lr, momentum } = outer;
      return { type: 'SGD', params: { ...plain, lr, momentum, nesterov: momentum > 0 } };
    }
    default:
      return outer satisfies never;
  }
}

/** Flat tensors that are kept for it, known before any is made: the common weights, and its states. */
export function outerTensorCount(outer: OuterOptimizer): number {
  return 1 + optimizerStateCount(updateRule(outer));
}

/**
 * This rank's slice of what the replicas come together by: the weights that all had after the last synchronisation, and the
 * state of the outer optimizer.
 */
export class OuterState implements OuterMemory {
  readonly common: Tensor;
  readonly difference: Tensor;
  /** The slice, in elements of the flat weights. */
  readonly range: FlatRange;
  readonly #rule: SgdConfig;
  readonly #optimizer: OptimizerGroup;
  readonly #weights: Tensor;

  /** @param memory filled already: what all replicas begin with */
  constructor(
    outer: OuterOptimizer,
    memory: TrainingMemory,
    group: Pick<ProcessGroup, 'rank' | 'worldSize' | 'allocate'>,
  ) {
    const [weights] = memory.owned.values;
    const gradients = memory.parameters.gradients?.values;
    invariant(weights && gradients, 'a replica is all of a model, with its gradients');
    const length = weights.elements / group.worldSize;
    invariant(Number.isInteger(length), 'a layout was planned for another number of ranks');
    this.range = { start: group.rank * length, end: (group.rank + 1) * length };
    this.#weights = weights;
    this.#rule = updateRule(outer);
    const { device } = weights;
    const { common, difference } = noGrad(() => ({
      common: keep(device === 'cpu' ? group.allocate(length, 'float32') : zeros([length], { device })),
      difference: keep(gradients.narrow(0, 0, length)),
    }));
    this.common = common;
    this.difference = difference;
    this.#optimizer = new OptimizerGroup(this.#rule, [{ parameters: common, gradients: difference }]);
    this.begin();
  }

  /** By name, one slice each. */
  get states(): ReadonlyMap<string, readonly Tensor[]> {
    return this.#optimizer.states;
  }

  get bytes(): number {
    return this.common.elements * DTYPES[this.common.dtype].bytes + this.#optimizer.bytes;
  }

  /** The weights of this replica, which are those of all, are where the way of the common weights begins. */
  begin(): void {
    const { start, end } = this.range;
    noGrad(() =>
      scope(() => {
        this.common.copy_(this.#weights.narrow(0, start, end - start));
        for (const state of [...this.states.values()].flat()) state.zero_();
      }),
    );
  }

  step(): void {
    const { lr } = this.#rule.params;
    this.#optimizer.step({ step: ANY_UPDATE, learningRate: lr, gradientScale: 1 });
  }

  dispose(): void {
    this.#optimizer.dispose();
    this.difference.dispose();
    this.common.dispose();
  }
}
