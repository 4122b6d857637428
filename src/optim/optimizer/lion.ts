import { lion_ } from '../../tensor/generated/functions.js';
import type { OptimizerConfig } from '../config.js';
import type { Optimizer, OptimizerMemory } from '../optimizer.js';
import { stateOf } from './zeros-like.js';

type LionOptions = Extract<OptimizerConfig, { type: 'Lion' }>['params'];

/** Lion: the sign of an interpolated momentum (arXiv 2302.06675; DeepSpeed: ops/lion). */
export function lion(options: LionOptions, memory: OptimizerMemory): Optimizer {
  const { parameters, gradients } = memory;
  const expAvg = stateOf(memory, 'exp_avg');
  const [beta1, beta2] = options.betas;
  return {
    states: new Map([['exp_avg', expAvg]]),
    step({ learningRate, momentum = beta1, gradientScale }) {
      lion_(
        parameters,
        gradients,
        expAvg,
        learningRate,
        momentum,
        beta2,
        options.weight_decay,
        gradientScale,
      );
    },
  };
}
