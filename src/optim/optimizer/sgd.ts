import { sgd_ } from '../../tensor/generated/functions.js';
import type { OptimizerConfig } from '../config.js';
import { columnsOf } from './columns.js';
import type { UpdateRule } from './update-rule.js';

type SgdOptions = Extract<OptimizerConfig, { type: 'SGD' }>['params'];

/** Stochastic gradient descent with torch.optim.SGD's momentum; without momentum it keeps no state. */
export function sgd(options: SgdOptions): UpdateRule {
  return {
    stateNames: options.momentum === 0 ? [] : ['momentum_buffer'],
    update({ step, learningRate, momentum = options.momentum, gradientScale }, pieces) {
      const { parameters, gradients, copies, state } = columnsOf(pieces);
      sgd_(
        parameters,
        gradients,
        state(0),
        copies,
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
