import { applyFunction, noGrad } from '../tensor/autograd.js';
import { arange, stack } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import { ownRuns } from './divide.js';
import type { HeadOptions, HeadResult } from './head.js';
import type { Parameter } from './parameter.js';
import type { Division } from './tensor-axis.js';
import { enterDivision } from './tensor-parallel.js';

/** The label of a position without a target, as in PyTorch's cross-entropy. */
const IGNORED_LABEL = -100;

/** Stands for a logit of minus infinity: its exponential is zero, and its difference to another is a number. */
const LEAST_LOGIT = -1e30;

/**
 * As `linearCrossEntropy`, where each rank of a tensor axis has the logits of its part of the vocabulary: they exchange
 * the largest logit, the sum of exponentials and the logit of the target of each position, and never the logits
 * (Megatron-LM's vocabulary-parallel cross-entropy), but where these are asked for.
 *
 * @param hidden [rows, length, features], or this rank's positions of it
 * @param weight [a part of the vocabulary, features]
 */
export function dividedCrossEntropy(
  hidden: Tensor,
  weight: Parameter,
  division: Division,
  { labels, lossScale, wantLogits }: HeadOptions,
): HeadResult {
  const all = enterDivision(hidden, division.axis);
  const features = all.flatten(0, -2);
  if (labels === undefined) {
    return { logits: wholeLogits(ownLogits(features, weight, division), division, all.shape) };
  }
  const targets = labels.flatten();
  let logits: Tensor | undefined;
  const [loss] = applyFunction(
    {
      forward([input]) {
        const own = ownLogits(input, weight, division);
        if (wantLogits) logits = wholeLogits(own, division, all.shape);
        const found = lossOf(own, targets, division);
        return {
          outputs: [found.losses.sum().mul(lossScale)],
          saved: [input, found.gradient.mul_(lossScale)],
        };
      },
      backward([input, gradient], [arriving]) {
        if (input === undefined || gradient === undefined || !arriving) return [null];
        const ofLogits = gradient.mul(arriving).to(input.dtype);
        weight.gradient?.add_(ofLogits.t().matmul(input));
        return [ofLogits.matmul(weight.value)];
      },
    },
    [features] as const,
  );
  return { ...(loss && { loss }), ...(logits && { logits }) };
}

/** Of the rows of the table that belong to no token, logits that no softmax sees. */
function ownLogits(features: Tensor, { value }: Parameter, division: Division): Tensor {
  const logits = features.matmul(value.t()).to('float32');
  const [, rows = 0] = logits.shape;
  const [{ length: used } = { length: 0 }] = ownRuns(division);
  if (used < rows) logits.narrow(1, used, rows - used).fill_(LEAST_LOGIT);
  return logits;
}

/** Of all ranks side by side, without what belongs to no token. */
function wholeLogits(own: Tensor, { axis, shape }: Division, inputShape: readonly number[]): Tensor {
  const [vocabulary = 0] = shape;
  const whole = noGrad(() => axis.concatenate(own, 1).narrow(1, 0, vocabulary));
  return whole.reshape([...inputShape.slice(0, -1), vocabulary]);
}

interface FoundLoss {
  /** [positions], of zero where there is no target. */
  readonly losses: Tensor;
  /** Of their sum with respect to the own logits: the softmax, less one at the target. */
  readonly gradient: Tensor;
}

/** @param logits [positions, a part of the vocabulary]; its memory is used */
function lossOf(logits: Tensor, labels: Tensor, division: Division): FoundLoss {
  const { axis } = division;
  const [{ start, length } = { start: 0, length: 0 }] = ownRuns(division);
  const shifted = logits.sub_(axis.max(logits.amax([1], true)));
  const isIgnored = labels.eq(IGNORED_LABEL);
  const local = labels.sub(start);
  const isElsewhere = local.lt(0).add(local.ge(length));
  const index = local.maskedFill(isElsewhere, 0).unsqueeze(1);
  const ownTarget = shifted.gather(1, index).squeeze(1).maskedFill(isElsewhere, 0);
  const exponentials = shifted.exp();
  const [sums, targets] = axis.sum(stack([exponentials.sum([1]), ownTarget])).split(1, 0);
  const denominator = (sums ?? ownTarget).flatten();
  const losses = denominator
    .log()
    .sub((targets ?? ownTarget).flatten())
    .maskedFill(isIgnored, 0);
  const softmax = exponentials.div_(denominator.unsqueeze(1));
  const isHere = isElsewhere.logicalNot().to('float32');
  const [positions = 0, columns = 0] = softmax.shape;
  const places = arange(0, positions, { dtype: 'int64', device: softmax.device })
    .mul(columns)
    .add(index.squeeze(1));
  softmax.view([-1]).indexAdd_(0, places, isHere.neg());
  const gradient = softmax.mul_(isIgnored.logicalNot().to('float32').unsqueeze(1));
  return { losses, gradient };
}
