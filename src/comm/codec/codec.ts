import type { DType } from '../../tensor/dtype.js';
import type { Tensor } from '../../tensor/tensor.js';

/**
 * How fp32 values travel in fewer bytes. A message is a flat tensor by itself: what it says depends on nothing but
 * the values that were put into it and, where `usesMaximum`, on what the ranks agreed on.
 */
export interface Codec {
  /** Of the elements of a message. */
  readonly dtype: DType;
  /** Whether the ranks must agree on their largest magnitude first. */
  readonly usesMaximum: boolean;
  /**
   * Whether so much is lost that sums come out right only in the long run, and only where the sender adds what one
   * message lost to the values of the next (error feedback).
   */
  readonly feedsBack: boolean;
  /** Elements of a message of so many values. */
  messageElements(values: number): number;
  /**
   * The coding of values of which none is larger than `maximum` on any rank; infinite where one is not finite. It
   * says nothing where `usesMaximum` is false.
   */
  coder(maximum: number): Coder;
}

export interface Coder {
  /** Values are decoded in pieces of so many, the last of a message being shorter. */
  readonly pieceElements: number;
  /** Puts flat values into a message, and leaves them as they are. */
  encode(values: Tensor, message: Tensor): void;
  /** What a message says of its values from `start` on, into as many fp32 elements as the piece has. */
  decodePiece(message: Tensor, start: number, target: Tensor): void;
}
