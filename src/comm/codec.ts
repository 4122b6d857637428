import { empty } from '../tensor/generated/functions.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { bf16 } from './codec/bf16.js';
import type { Codec, Coder } from './codec/codec.js';
import { fp16 } from './codec/fp16.js';
import { fp16Dynamic } from './codec/fp16-dynamic.js';
import { fp16Static } from './codec/fp16-static.js';
import { int4 } from './codec/int4.js';
import { int8 } from './codec/int8.js';
import { oneBit } from './codec/one-bit.js';
import { forPieces } from './codec/pieces.js';
import type { ActiveCompression } from './config.js';

/** The codec that a configuration names. */
export function createCodec(compression: ActiveCompression): Codec {
  switch (compression.type) {
    case 'fp16':
      return fp16;
    case 'fp16-static':
      return fp16Static(compression.scale);
    case 'fp16-dynamic':
      return fp16Dynamic;
    case 'bf16':
      return bf16;
    case 'int8':
      return int8(compression.block_size);
    case 'int4':
      return int4(compression.block_size);
    case 'one-bit':
      return oneBit;
    default:
      return compression satisfies never;
  }
}

/** A message of flat values. */
export function encoded(values: Tensor, codec: Codec, coder: Coder): Tensor {
  const elements = codec.messageElements(values.elements);
  const message = empty([elements], { dtype: codec.dtype, device: values.device });
  coder.encode(values, message);
  return message;
}

/** Puts what a message says into flat values of any floating dtype. */
export function decode(message: Tensor, values: Tensor, coder: Coder): void {
  forPieces(values, coder.pieceElements, (piece, start) => {
    if (piece.dtype === 'float32') coder.decodePiece(message, start, piece);
    else piece.copy_(decodedPiece(message, start, piece, coder));
  });
}

/** Adds what a message says to flat fp32 values, or takes it away from them. */
export function addDecoded(message: Tensor, values: Tensor, coder: Coder, sign: 1 | -1 = 1): void {
  forPieces(values, coder.pieceElements, (piece, start) => {
    piece.add_(decodedPiece(message, start, piece, coder), { alpha: sign });
  });
}

function decodedPiece(message: Tensor, start: number, { shape, device }: Tensor, coder: Coder): Tensor {
  const decoded = empty(shape, { device });
  coder.decodePiece(message, start, decoded);
  return decoded;
}

/** The largest magnitude among the values; infinite where one is infinite or NaN. */
export function largestMagnitude(values: Tensor): number {
  if (values.elements === 0) return 0;
  const [smallest, largest] = scope(() => values.aminmax().map((bound) => bound.item()));
  const magnitude = Math.max(-(smallest ?? 0), largest ?? 0);
  return Number.isNaN(magnitude) ? Number.POSITIVE_INFINITY : magnitude;
}
