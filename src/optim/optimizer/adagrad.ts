import { adagrad_ } from '../../tensor/generated/functions.js';
import type { OptimizerConfig } from '../config.js';
import { columnsOf } from './columns.js';
import type { UpdateRule } from './update-rule.js';

type AdagradOptions = Extract<OptimizerConfig, { type: 'Adagrad' }>['params'];

/** Adagrad (Duchi et al., JMLR 12, 2011), by torch's formulas (DeepSpeed: ops/adagrad). */
export function adagrad({ lr_decay, eps, weight_decay }: AdagradOptions): UpdateRule {
  return {
    stateNames: ['sum'],
    update({ step, learningRate, gradientScale }, pieces) {
      const { parameters, gradients, copies, state } = columnsOf(pieces);
      adagrad_(
        parameters,
        gradients,
        state(0),
        copies,
        learningRate,
        lr_decay,
        eps,
        weight_decay,
        step,
        gradientScale,
      );
    },
  };
}
