import { range } from '../range.js';
import type { Schedule, Turn } from './turn.js';

/**
 * One forward, one backward (PipeDream-Flush, arXiv 2006.09503; DeepSpeed: TrainSchedule): stage s runs p − 1 − s
 * micro-batches ahead and then turns back as soon as it can. The stages stand still as long as in GPipe, but stage s
 * keeps no more than p − s micro-batches.
 */
export const oneForwardOneBackward: Schedule = ({ stages, microBatches, stage }) => {
  const ahead = Math.min(stages - 1 - stage, microBatches);
  return [
    ...range(ahead).map(forward),
    ...range(microBatches - ahead).flatMap((micro) => [forward(ahead + micro), backward(micro)]),
    ...range(ahead).map((micro) => backward(microBatches - ahead + micro)),
  ];
};

function forward(micro: number): Turn {
  return { kind: 'forward', chunk: 0, micro };
}

function backward(micro: number): Turn {
  return { kind: 'backward', chunk: 0, micro };
}
