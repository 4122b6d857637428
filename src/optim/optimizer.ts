import { invariant } from '../base/errors.js';
import type { Tensor } from '../tensor/tensor.js';
import type { OptimizerConfig } from './config.js';
import { adam } from './optimizer/adam.js';
import { lion } from './optimizer/lion.js';
import { oneBitAdam } from './optimizer/one-bit-adam.js';
import { sgd } from './optimizer/sgd.js';

/** What one update needs beside the memory. */
export interface OptimizerUpdate {
  /** Number of the update, from 1: Adam's bias correction follows it. */
  readonly step: number;
  readonly learningRate: number;
  /** Replaces β₁ or the momentum for this update, where a schedule moves it. */
  readonly momentum?: number;
  /** Factor on every gradient: clipping and the division by the number of tokens in one. */
  readonly gradientScale: number;
}

/**
 * An update rule over flat memory. An optimizer sees two flat tensors and nothing of models or ranks, so that
 * a shard of them is as good as the whole.
 */
export interface Optimizer {
  /** What it keeps between updates: flat tensors like the parameters, by torch's names ("exp_avg"). */
  readonly states: ReadonlyMap<string, Tensor>;
  /** Updates the parameters in place. */
  step(update: OptimizerUpdate): void;
}

/** The flat memory that an optimizer works on: fp32, contiguous, of equal length. */
export interface OptimizerMemory {
  readonly parameters: Tensor;
  readonly gradients: Tensor;
  /** Where the first moment lies that ranks exchange; left out: in memory of its own. */
  readonly momentum?: Tensor;
  /** What the optimizer keeps between updates, by the names that it has for it; left out: new memory of zeros. */
  readonly states?: ReadonlyMap<string, Tensor>;
}

/** The optimizer that a configuration names. Its states start as zeros and are kept until disposed. */
export function createOptimizer(config: OptimizerConfig, memory: OptimizerMemory): Optimizer {
  invariant(
    memory.parameters.elements === memory.gradients.elements,
    'parameters and gradients of an optimizer have equal length',
  );
  switch (config.type) {
    case 'AdamW':
      return adam({ ...config.params, adam_w_mode: true }, memory);
    case 'Adam':
      return adam(config.params, memory);
    case 'OneBitAdam':
      return oneBitAdam(config.params, memory);
    case 'Lion':
      return lion(config.params, memory);
    case 'SGD':
      return sgd(config.params, memory);
    default:
      return config satisfies never;
  }
}

/** The names of the flat tensors that an optimizer keeps, known before it is made. */
export function optimizerStateNames(config: OptimizerConfig): readonly string[] {
  switch (config.type) {
    case 'AdamW':
    case 'Adam':
    case 'OneBitAdam':
      return ['exp_avg', 'exp_avg_sq'];
    case 'Lion':
      return ['exp_avg'];
    case 'SGD':
      return config.params.momentum === 0 ? [] : ['momentum_buffer'];
    default:
      return config satisfies never;
  }
}

/** How many these are. */
export function optimizerStateCount(config: OptimizerConfig): number {
  return optimizerStateNames(config).length;
}
