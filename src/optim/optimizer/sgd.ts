import { sgd_ } from '../../tensor/generated/functions.js';
import { keep } from '../../tensor/tensor.js';
import type { OptimizerConfig } from '../config.js';
import type { Optimizer, OptimizerMemory } from '../optimizer.js';
import { zerosLike } from './zeros-like.js';

type SgdOptions = Extract<OptimizerConfig, { type: 'SGD' }>['params'];

/** Stochastic gradient descent with torch.optim.SGD's momentum; without momentum it keeps no state. */
export function sgd(options: SgdOptions, { parameters, gradients }: OptimizerMemory): Optimizer {
  const buffer = options.momentum === 0 ? undefined : keep(zerosLike(parameters));
  return {
    states: new Map(buffer === undefined ? [] : [['momentum_buffer', buffer]]),
    step({ step, learningRate, momentum = options.momentum, gradientScale }) {
      sgd_(
        parameters,
        gradients,
        buffer,
        learningRate,
        momentum,
        options.dampening,
        options.weight_decay,
        options.nesterov,
        step,
        gradientScale,
      );
    },
  };
}
