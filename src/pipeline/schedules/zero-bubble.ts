import { range } from '../range.js';
import { oneForwardOneBackward } from './one-forward-one-backward.js';
import type { Schedule, Turn } from './turn.js';

/**
 * One forward, one backward, with the products for weights put off to where a stage would stand still (ZB-H1 of Qi et
 * al., arXiv 2401.10241): those of stage s follow s micro-batches later. The stages stand still for (p − 1) (F + B − W)
 * in place of (p − 1) (F + B + W), and none keeps more than p micro-batches, as many as the first does without it.
 *
 * The first stage has nobody who waits for its gradients, and takes no halves.
 */
export const zeroBubble: Schedule = (shape) => {
  const { microBatches, stage } = shape;
  if (stage === 0) return oneForwardOneBackward(shape);
  const turns = oneForwardOneBackward(shape).flatMap((turn): readonly Turn[] => {
    if (turn.kind !== 'backward') return [turn];
    const half: Turn = { ...turn, kind: 'backward-input' };
    return turn.micro < stage ? [half] : [half, weights(turn.micro - stage)];
  });
  const left = Math.min(stage, microBatches);
  return [...turns, ...range(left).map((index) => weights(microBatches - left + index))];
};

function weights(micro: number): Turn {
  return { kind: 'backward-weights', chunk: 0, micro };
}
