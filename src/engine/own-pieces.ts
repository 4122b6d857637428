import type { ProcessGroup } from '../comm/process-group.js';
import { ownRuns } from '../nn/divide.js';
import type { FlatSlot } from '../nn/flat-layout.js';
import type { Division } from '../nn/tensor-axis.js';
import { elementsIn, stridesOf } from '../store/checkpoint/pieces.js';
import type { PieceSource } from '../store/checkpoint/write.js';
import { noGrad } from '../tensor/autograd.js';
import { DTYPES, type DType } from '../tensor/dtype.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { type Partition, piecesOf, sliceOf } from '../zero/partition.js';

/** Elements of one rank that are a part of a tensor, and where they are. */
export interface OwnElements extends Pick<PieceSource, 'name' | 'dtype' | 'shape' | 'start' | 'elements'> {
  /** Of flat memory. */
  readonly flat: Tensor;
  /** First element inside that. */
  readonly offset: number;
}

/** A piece out of flat memory, read a little at a time. */
export function pieceFrom({ flat, offset, ...piece }: OwnElements): PieceSource {
  const size = DTYPES[piece.dtype].bytes;
  return { ...piece, read: (target, from) => readFlat(flat, offset + from, target, size) };
}

function readFlat(flat: Tensor, offset: number, target: Uint8Array, size: number): void {
  noGrad(() => scope(() => flat.narrow(0, offset, target.length / size).copyToBytes(target)));
}

/** Which share of its slices a rank writes: others may have the same. */
export interface Share {
  readonly index: number;
  readonly of: number;
}

/** This rank among those that have the same as it. */
export function shareOf(replicas: Pick<ProcessGroup, 'rank' | 'worldSize'> | undefined): Share {
  return replicas === undefined ? { index: 0, of: 1 } : { index: replicas.rank, of: replicas.worldSize };
}

/** Flat memory that is laid out like the parameters: one slice per range of a partition. */
export interface SlicedMemory {
  readonly partition: Partition;
  /** This rank's place in it. */
  readonly rank: number;
  readonly share: Share;
  readonly slices: readonly Tensor[];
  readonly dtype: DType;
}

/**
 * What this rank writes of one parameter: of what it has, its share, without what another rank of the tensor axis has as
 * well and without padding. Nothing is copied before it is read.
 *
 * @param name under which it is saved
 */
export function ownPieces(name: string, slot: FlatSlot, memory: SlicedMemory): readonly PieceSource[] {
  const { partition, rank, share, slices, dtype } = memory;
  const { division } = slot;
  if (division?.isCopy) return [];
  return piecesOf(partition, slot).flatMap((piece) => {
    const flat = slices[piece.range];
    if (piece.rank !== rank || flat === undefined) return [];
    const slice = sliceOf(partition, piece.range, rank);
    const [from, to] = sharedOut(slice.end - slice.start, share);
    const first = Math.max(piece.sliceOffset, from);
    const elements = Math.min(piece.sliceOffset + piece.elements, to) - first;
    if (elements <= 0) return [];
    const start = piece.offset + first - piece.sliceOffset;
    const own = { name, dtype, shape: slot.shape, start, elements, flat, offset: first };
    return division?.dimension === undefined ? [pieceFrom(own)] : dividedPiece(own, division);
  });
}

function sharedOut(length: number, { index, of }: Share): readonly [number, number] {
  return [Math.floor((length * index) / of), Math.floor((length * (index + 1)) / of)];
}

/**
 * Of a parameter that a tensor axis divides, a rank has some indices of one dimension and zeros behind them, which are
 * left out.
 */
function dividedPiece(own: OwnElements, division: Division): readonly PieceSource[] {
  const { dimension = 0, shape } = division;
  const runs = ownRuns(division).filter(({ length }) => length > 0);
  const along = { dimension, runs: runs.map(({ start, length }): [number, number] => [start, length]) };
  const { inner, selectedRow } = stridesOf(shape, along);
  const paddedRow = (own.shape[dimension] ?? 0) * inner;
  /** How many of the elements before a place are selected ones. */
  const selectedBefore = (place: number): number => {
    const row = Math.floor(place / paddedRow);
    return row * selectedRow + Math.min(place - row * paddedRow, selectedRow);
  };
  const start = selectedBefore(own.start);
  const elements = selectedBefore(own.start + own.elements) - start;
  if (elements === 0) return [];
  const { name, dtype, flat } = own;
  const size = DTYPES[dtype].bytes;
  const placeOf = (selected: number): number => {
    const row = Math.floor(selected / selectedRow);
    return row * paddedRow + (selected - row * selectedRow);
  };
  const read = (target: Uint8Array, from: number): void => {
    const [first, last] = [start + from, start + from + target.length / size - 1];
    const place = placeOf(first);
    const padded = new Uint8Array((placeOf(last) + 1 - place) * size);
    readFlat(flat, own.offset + place - own.start, padded, size);
    for (let done = first; done <= last; ) {
      const count = Math.min(selectedRow - (done % selectedRow), last + 1 - done);
      const at = (placeOf(done) - place) * size;
      target.set(padded.subarray(at, at + count * size), (done - first) * size);
      done += count;
    }
  };
  const isWhole = elements === elementsIn(shape);
  return [{ name, dtype, shape, start, elements, ...(!isWhole && { along }), read }];
}
