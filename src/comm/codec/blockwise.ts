import type { Tensor } from '../../tensor/tensor.js';
import type { Codec } from './codec.js';
import { forPieces, PIECE_ELEMENTS } from './pieces.js';

/** What a blockwise codec does with one block and with the whole numbers that come of it. */
export interface BlockwiseOptions {
  /** Values that share a scale; a multiple of 8. */
  readonly blockSize: number;
  readonly feedsBack: boolean;
  /**
   * [blocks, values of one] → [blocks], fp32: the scale of each block. Zero stands for a block that arrives as zeros, a
   * number that is not finite for one that has such a number.
   */
  readonly scalesOf: (blocks: Tensor) => Tensor;
  /** Bytes of so many values beside their scales. */
  readonly payloadBytes: (values: number) => number;
  /** Puts values / scales of one piece, which may be overwritten, into their bytes (uint8). */
  readonly pack: (quotients: Tensor, payload: Tensor) => void;
  /** The whole numbers that such bytes say, as fp32. */
  readonly unpack: (payload: Tensor, quotients: Tensor) => void;
}

const SCALE_BYTES = 4;

/**
 * Values in blocks that share an fp32 scale, each value a small whole number of scales. A message is piece after piece:
 * the scales of its blocks, and behind them the bytes of its values.
 */
export function blockwise(options: BlockwiseOptions): Codec {
  const { blockSize, feedsBack, scalesOf, payloadBytes, pack, unpack } = options;
  const pieceElements = Math.max(1, Math.floor(PIECE_ELEMENTS / blockSize)) * blockSize;
  const scaleBytes = (values: number): number => Math.ceil(values / blockSize) * SCALE_BYTES;
  const codeBytes = (values: number): number => scaleBytes(values) + payloadBytes(values);
  const partsOf = (message: Tensor, start: number, values: number) => {
    const place = codeBytes(start);
    return {
      scales: message.narrow(0, place, scaleBytes(values)).viewAs('float32'),
      payload: message.narrow(0, place + scaleBytes(values), payloadBytes(values)),
    };
  };
  return {
    dtype: 'uint8',
    usesMaximum: false,
    feedsBack,
    // Messages may lie one behind the other, and have their scales on four-byte borders all the same.
    messageElements: (values) => Math.ceil(codeBytes(values) / SCALE_BYTES) * SCALE_BYTES,
    coder: () => ({
      pieceElements,
      encode(values, message) {
        forPieces(values, pieceElements, (piece, start) => {
          const { scales, payload } = partsOf(message, start, piece.elements);
          const quotients = piece.clone();
          for (const [blocks, scale] of blocksOf(quotients, scales, blockSize)) {
            scale.copy_(withoutTiny(scalesOf(blocks)));
            divide(blocks, scale);
          }
          pack(quotients, payload);
        });
      },
      decodePiece(message, start, target) {
        const { scales, payload } = partsOf(message, start, target.elements);
        unpack(payload, target);
        for (const [blocks, scale] of blocksOf(target, scales, blockSize)) blocks.mul_(scale.unsqueeze(1));
      },
    }),
  };
}

/** The whole blocks of flat values with their scales, and then the rest, where there is one. */
function blocksOf(values: Tensor, scales: Tensor, blockSize: number): readonly (readonly [Tensor, Tensor])[] {
  const { elements } = values;
  const whole = Math.floor(elements / blockSize);
  const rest = elements - whole * blockSize;
  const pairs: (readonly [Tensor, Tensor])[] = [];
  if (whole > 0) {
    pairs.push([values.narrow(0, 0, whole * blockSize).view([whole, blockSize]), scales.narrow(0, 0, whole)]);
  }
  if (rest > 0) {
    pairs.push([values.narrow(0, whole * blockSize, rest).view([1, rest]), scales.narrow(0, whole, 1)]);
  }
  return pairs;
}

/** The smallest fp32 with all its bits, whose inverse is finite. */
const SMALLEST_SCALE = 2 ** -126;

/** Blocks of smaller scales arrive as zeros. */
function withoutTiny(scales: Tensor): Tensor {
  return scales.maskedFill(scales.lt(SMALLEST_SCALE), 0);
}

/** In place. Where a scale is zero or not finite the block becomes zero: nothing of it can be said but its scale. */
function divide(blocks: Tensor, scale: Tensor): void {
  const inverse = scale.reciprocal();
  const isLost = inverse.isfinite().logicalNot();
  blocks.mul_(inverse.maskedFill(isLost, 0).unsqueeze(1));
  // What is not finite stays so under any factor, and has no whole number.
  if (scale.isfinite().all().item() === 0) blocks.nanToNum_(0, 0, 0);
}
