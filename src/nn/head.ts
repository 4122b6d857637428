import type { Tensor } from '../tensor/tensor.js';
import type { Activations } from './block.js';

/** What a language model's head gives, as the last block returns it. */
export type HeadResult = Activations & {
  /** Scalar: the sum of the token losses times the scale. Absent without labels. */
  readonly loss?: Tensor;
  /** [rows, length, vocabulary], where asked for. */
  readonly logits?: Tensor;
};

/** What to compute in the head. */
export interface HeadOptions {
  /** The target of each position, [rows, length] int64, -100 where there is none. */
  readonly labels?: Tensor | undefined;
  readonly lossScale: number;
  readonly wantLogits: boolean;
}
