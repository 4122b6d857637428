import { sgd_ } from '../../tensor/generated/functions.js';
import type { OptimizerConfig } from '../config.js';
import type { Optimizer, OptimizerMemory } from '../optimizer.js';
import { stateOf } from './zeros-like.js';

type SgdOptions = Extract<OptimizerConfig, { type: 'SGD' }>['params'];

/** Stochastic gradient descent with torch.optim.SGD's momentum; without momentum it keeps no state. */
export function sgd(options: SgdOptions, memory: OptimizerMemory): Optimizer {
  const { parameters, gradients } = memory;
  const buffer = options.momentum === 0 ? undefined : stateOf(memory, 'momentum_buffer');
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
