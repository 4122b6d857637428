import { invariant } from '../../base/errors.js';
import { scope, type Tensor } from '../../tensor/tensor.js';
import type { OptimizerConfig } from '../config.js';
import { adam } from './adam.js';
import type { OptimizerUpdate, UpdatePiece, UpdateRule } from './update-rule.js';

type OneBitAdamOptions = Extract<OptimizerConfig, { type: 'OneBitAdam' }>['params'];

/** The frozen update goes through memory in pieces that stay in a core's cache. */
const PIECE_ELEMENTS = 2 ** 17;

/**
 * 1-bit Adam (arXiv 2102.02888; DeepSpeed: runtime/fp16/onebit/adam.py): AdamW for `freeze_step` updates; after them the
 * second moment stays, whoever calls makes the first one before each update, and nothing is read from the gradients.
 * Biases are corrected as in AdamW, which DeepSpeed leaves out: so the first frozen update is AdamW's next.
 *
 * One bit of a moment is the mean of many elements, which of one with next to no gradients says far too much; divided by
 * its next to nothing of a deviation that would be without bound. So no element moves further than it could in Adam
 * (section 2.1 of arXiv 1412.6980), and one that had no gradient before the freeze does not move.
 */
export function oneBitAdam(options: OneBitAdamOptions): UpdateRule {
  const warmUp = adam({ ...options, adam_w_mode: true });
  const frozen = frozenUpdate(options);
  return {
    stateNames: warmUp.stateNames,
    update(update, pieces) {
      if (update.step <= options.freeze_step) warmUp.update(update, pieces);
      else for (const piece of pieces) updateFrozen(piece, (...parts) => frozen(update, ...parts));
    },
  };
}

function updateFrozen({ parameters, states, copy }: UpdatePiece, update: (...parts: Parts) => void): void {
  const [first, second] = states;
  invariant(first && second, 'Adam has two moments');
  inPieces([parameters, first, second], update);
  copy?.copy_(parameters);
}

type Parts = readonly [parameters: Tensor, first: Tensor, second: Tensor];

function frozenUpdate({ freeze_step: freezeStep, betas, eps, weight_decay: weightDecay }: OneBitAdamOptions) {
  const [beta1, beta2] = betas;
  const secondCorrection = 1 / (1 - beta2 ** freezeStep);
  return (
    { step, learningRate, momentum = beta1 }: OptimizerUpdate,
    parameters: Tensor,
    first: Tensor,
    second: Tensor,
  ): void => {
    const firstCorrection = 1 / (1 - momentum ** step);
    const furthest = Math.max(1, (1 - momentum) / Math.sqrt(1 - beta2));
    const deviation = second.mul(secondCorrection).sqrt().add_(eps);
    const direction = first.mul(firstCorrection).div_(deviation).clamp(-furthest, furthest);
    parameters
      .mul_(1 - learningRate * weightDecay)
      .sub_(direction.maskedFill(second.eq(0), 0), { alpha: learningRate });
  };
}

function inPieces(tensors: Parts, body: (...parts: Parts) => void): void {
  const [{ elements }] = tensors;
  for (let start = 0; start < elements; start += PIECE_ELEMENTS) {
    const length = Math.min(PIECE_ELEMENTS, elements - start);
    scope(() => {
      const [parameters, first, second] = tensors;
      body(
        parameters.narrow(0, start, length),
        first.narrow(0, start, length),
        second.narrow(0, start, length),
      );
    });
  }
}
