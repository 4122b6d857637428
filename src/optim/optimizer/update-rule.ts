import type { Tensor } from '../../tensor/tensor.js';

/** What one update needs beside the memory. */
export interface OptimizerUpdate {
  /** Number of the update, from 1: Adam's bias correction follows it. */
  readonly step: number;
  readonly learningRate: number;
  /** Replaces β₁ or the momentum for this update, where a schedule moves it. */
  readonly momentum?: number;
  /** Factor on every gradient: clipping and the division by the number of tokens in one. */
  readonly gradientScale: number;
}

/** Flat memory that an update goes over: contiguous tensors of equal length, on one device. */
export interface UpdatePiece {
  /** fp32. */
  readonly parameters: Tensor;
  /** fp32, or 16 bits. */
  readonly gradients: Tensor;
  /** fp32, in the order of the rule's names. */
  readonly states: readonly Tensor[];
  /** Gets the new parameters as well, in its own dtype. All pieces of an update have one, or none has. */
  readonly copy?: Tensor;
}

/**
 * An update rule over flat memory, whoever keeps that memory. It sees tensors and nothing of models or ranks; every
 * element is computed alike, so that a part of the memory is as good as the whole: a shard, a tile that comes and goes, a
 * range of a tensor (`narrow`) get the bits that one update of everything gives.
 */
export interface UpdateRule {
  /** What it keeps between updates, by torch's names ("exp_avg"); the first values are zeros. */
  readonly stateNames: readonly string[];
  /** Updates parameters and states of all pieces in place, in one pass over them. */
  update(update: OptimizerUpdate, pieces: readonly UpdatePiece[]): void;
}
