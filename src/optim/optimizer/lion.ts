import { lion_ } from '../../tensor/generated/functions.js';
import type { OptimizerConfig } from '../config.js';
import { columnsOf } from './columns.js';
import type { UpdateRule } from './update-rule.js';

type LionOptions = Extract<OptimizerConfig, { type: 'Lion' }>['params'];

/** Lion: the sign of an interpolated momentum (arXiv 2302.06675; DeepSpeed: ops/lion). */
export function lion({ betas, weight_decay: weightDecay }: LionOptions): UpdateRule {
  const [beta1, beta2] = betas;
  return {
    stateNames: ['exp_avg'],
    update({ learningRate, momentum = beta1, gradientScale }, pieces) {
      const { parameters, gradients, copies, state } = columnsOf(pieces);
      lion_(
        parameters,
        gradients,
        state(0),
        copies,
        learningRate,
        momentum,
        beta2,
        weightDecay,
        gradientScale,
      );
    },
  };
}
