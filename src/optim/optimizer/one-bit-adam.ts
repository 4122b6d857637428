import { keep, scope } from '../../tensor/tensor.js';
import type { OptimizerConfig } from '../config.js';
import type { Optimizer, OptimizerMemory, OptimizerUpdate } from '../optimizer.js';
import { adam } from './adam.js';
import { zerosLike } from './zeros-like.js';

type OneBitAdamOptions = Extract<OptimizerConfig, { type: 'OneBitAdam' }>['params'];

/** The frozen update goes through memory in pieces that stay in a core's cache. */
const PIECE_ELEMENTS = 2 ** 17;

/**
 * 1-bit Adam (arXiv 2102.02888; DeepSpeed: runtime/fp16/onebit/adam.py): AdamW for `freeze_step` updates; after them the
 * second moment stays, whoever calls makes the first one before each update, and nothing is read from the gradients.
 * Biases are corrected as in AdamW, which DeepSpeed leaves out: so the first frozen update is AdamW's next.
 */
export function oneBitAdam(options: OneBitAdamOptions, memory: OptimizerMemory): Optimizer {
  const { freeze_step: freezeStep, betas, eps, weight_decay: weightDecay } = options;
  const expAvg = keep(memory.momentum?.alias() ?? zerosLike(memory.parameters));
  const warmUp = adam({ ...options, adam_w_mode: true }, memory, expAvg);
  const expAvgSq = warmUp.states.get('exp_avg_sq');
  const frozen = ({ step, learningRate, momentum = betas[0] }: OptimizerUpdate): void => {
    const stepSize = learningRate / (1 - momentum ** step);
    const secondCorrection = 1 - betas[1] ** freezeStep;
    const { parameters } = memory;
    for (let start = 0; start < parameters.elements; start += PIECE_ELEMENTS) {
      const length = Math.min(PIECE_ELEMENTS, parameters.elements - start);
      scope(() => {
        const [values, first, second] = [parameters, expAvg, expAvgSq].map((each) =>
          each?.narrow(0, start, length),
        );
        if (!values || !first || !second) return;
        const deviation = second
          .mul(1 / secondCorrection)
          .sqrt()
          .add_(eps);
        values.mul_(1 - learningRate * weightDecay).sub_(first.div(deviation), { alpha: stepSize });
      });
    }
  };
  return {
    states: warmUp.states,
    step: (update) => (update.step > freezeStep ? frozen(update) : warmUp.step(update)),
  };
}
