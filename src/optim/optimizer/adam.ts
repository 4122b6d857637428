import { adam_ } from '../../tensor/generated/functions.js';
import type { OptimizerConfig } from '../config.js';
import type { Optimizer, OptimizerMemory } from '../optimizer.js';
import { stateOf } from './zeros-like.js';

type AdamOptions = Extract<OptimizerConfig, { type: 'Adam' }>['params'];

/**
 * Adam (arXiv 1412.6980), with `adam_w_mode` AdamW (arXiv 1711.05101), by torch's formulas and DeepSpeed's
 * option names (ops/adam).
 *
 * @param expAvg where the first moment lies
 */
export function adam(
  options: AdamOptions,
  memory: OptimizerMemory,
  expAvg = stateOf(memory, 'exp_avg'),
): Optimizer {
  const { parameters, gradients } = memory;
  const expAvgSq = stateOf(memory, 'exp_avg_sq');
  const [beta1, beta2] = options.betas;
  return {
    states: new Map([
      ['exp_avg', expAvg],
      ['exp_avg_sq', expAvgSq],
    ]),
    step({ step, learningRate, momentum = beta1, gradientScale }) {
      adam_(
        parameters,
        gradients,
        expAvg,
        expAvgSq,
        learningRate,
        momentum,
        beta2,
        options.eps,
        options.weight_decay,
        options.adam_w_mode,
        step,
        gradientScale,
      );
    },
  };
}
