import { range } from '../range.js';
import { oneForwardOneBackward } from './one-forward-one-backward.js';
import type { PipelineShape, Schedule, Turn } from './turn.js';

/**
 * Several chunks on every stage (Narayanan et al., arXiv 2104.04473; Megatron's order): a stage takes p micro-batches
 * through its first chunk, then through its next, and runs 2 (p − 1 − s) + (v − 1) p turns ahead before it turns back. The
 * stages stand still for (p − 1)/(m v) of their work; messages are v times as many.
 *
 * Where the stages do not divide the micro-batches the order is that of the next larger number without what is too
 * much: every stage leaves out the same micro-batches, and nothing else waits for those.
 */
export const interleaved: Schedule = (shape) => {
  if (shape.chunks === 1) return oneForwardOneBackward(shape);
  const { stages, chunks, microBatches, stage } = shape;
  const turns = Math.ceil(microBatches / stages) * stages * chunks;
  const ahead = Math.min(turns, 2 * (stages - 1 - stage) + (chunks - 1) * stages);
  const padded = [
    ...range(ahead).map((turn) => forward(turn, shape)),
    ...range(turns - ahead).flatMap((turn) => [forward(ahead + turn, shape), backward(turn, shape)]),
    ...range(ahead).map((turn) => backward(turns - ahead + turn, shape)),
  ];
  return padded.filter(({ micro }) => micro < microBatches);
};

function forward(turn: number, shape: PipelineShape): Turn {
  return { kind: 'forward', ...placeOf(turn, shape) };
}

/** The chunks in the opposite order. */
function backward(turn: number, shape: PipelineShape): Turn {
  const { chunk, micro } = placeOf(turn, shape);
  return { kind: 'backward', chunk: shape.chunks - 1 - chunk, micro };
}

function placeOf(turn: number, { stages, chunks }: PipelineShape): Pick<Turn, 'chunk' | 'micro'> {
  const round = stages * chunks;
  const within = turn % round;
  return {
    chunk: Math.floor(within / stages),
    micro: Math.floor(turn / round) * stages + (within % stages),
  };
}
