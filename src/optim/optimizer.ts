import type { Tensor } from '../tensor/tensor.js';
import type { OptimizerConfig } from './config.js';
import { adagrad } from './optimizer/adagrad.js';
import { adam } from './optimizer/adam.js';
import { lion } from './optimizer/lion.js';
import { oneBitAdam } from './optimizer/one-bit-adam.js';
import { sgd } from './optimizer/sgd.js';
import type { OptimizerUpdate, UpdateRule } from './optimizer/update-rule.js';

/** The flat memory that an optimizer works on: fp32, contiguous, of equal length. */
export interface OptimizerMemory {
  readonly parameters: Tensor;
  readonly gradients: Tensor;
  /** Where the first moment lies that ranks exchange; left out: in memory of its own. */
  readonly momentum?: Tensor;
}

/** Whoever updates parameters in place. */
export interface Optimizer {
  step(update: OptimizerUpdate): void;
}

/** How many flat tensors an optimizer keeps, known before it is made. */
export function optimizerStateCount(config: OptimizerConfig): number {
  return createUpdateRule(config).stateNames.length;
}

/** The rule that a configuration names. */
export function createUpdateRule(config: OptimizerConfig): UpdateRule {
  switch (config.type) {
    case 'AdamW':
      return adam({ ...config.params, adam_w_mode: true });
    case 'Adam':
      return adam(config.params);
    case 'OneBitAdam':
      return oneBitAdam(config.params);
    case 'Lion':
      return lion(config.params);
    case 'Adagrad':
      return adagrad(config.params);
    case 'SGD':
      return sgd(config.params);
    default:
      return config satisfies never;
  }
}
