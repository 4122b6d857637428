import { adam_ } from '../../tensor/generated/functions.js';
import type { OptimizerConfig } from '../config.js';
import { columnsOf } from './columns.js';
import type { UpdateRule } from './update-rule.js';

type AdamOptions = Extract<OptimizerConfig, { type: 'Adam' }>['params'];

/**
 * Adam (arXiv 1412.6980), with `adam_w_mode` AdamW (arXiv 1711.05101), by torch's formulas and DeepSpeed's
 * option names (ops/adam).
 */
export function adam(options: AdamOptions): UpdateRule {
  const [beta1, beta2] = options.betas;
  return {
    stateNames: ['exp_avg', 'exp_avg_sq'],
    update({ step, learningRate, momentum = beta1, gradientScale }, pieces) {
      const { parameters, gradients, copies, state } = columnsOf(pieces);
      adam_(
        parameters,
        gradients,
        state(0),
        state(1),
        copies,
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
