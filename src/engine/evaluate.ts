import { invariant } from '../base/errors.js';
import type { MicroBatchData } from '../data/batch-source.js';
import type { Activations, Model } from '../nn/block.js';
import { noGrad } from '../tensor/autograd.js';
import { scope } from '../tensor/tensor.js';
import { toDevice } from './batch.js';
import type { TrainingMemory } from './training-memory.js';

/**
 * Mean loss over the target tokens of micro-batches, on a rank that has all weights: nothing is updated, and nobody else
 * needs to do anything.
 */
export function evaluate(model: Model, memory: TrainingMemory, micros: readonly MicroBatchData[]): number {
  memory.refreshCopies();
  const losses = micros.map((data) => noGrad(() => scope(() => lossOf(model, memory, data))));
  const tokens = micros.reduce((sum, { targetTokens }) => sum + targetTokens, 0);
  return tokens === 0 ? 0 : losses.reduce((sum, loss) => sum + loss, 0) / tokens;
}

/** The sum over target tokens. */
function lossOf(model: Model, { parameters }: TrainingMemory, data: MicroBatchData): number {
  const batch = toDevice(data, parameters.values.device);
  const context = { batch, lossScale: 1, training: false, wantLogits: false };
  let activations: Activations = {};
  for (const [index, block] of model.blocks.entries()) {
    const own = parameters.blocks[index];
    invariant(own, 'every block has its parameters');
    activations = block.forward(own, activations, context);
  }
  invariant(activations.loss, 'the last block gives the loss of a batch with labels');
  return activations.loss.item();
}
