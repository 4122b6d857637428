import { groupBy } from '../../base/group-by.js';
import type { PieceRecord, Selection, TensorRecord } from './manifest.js';

/*
 * [Note: pieces] A rank writes what it has of a tensor, and that is never copied together first. It has a range of
 * elements in C order; where a tensor axis divides a dimension, a range of what is left of the tensor when only some
 * indices of that dimension are selected. Any other layout reads any elements out of whichever pieces have them.
 */

/** A stretch of elements that is contiguous in a tensor and in a piece of it. */
interface Span {
  /** First element inside the tensor. */
  readonly inTensor: number;
  /** First element inside the piece. */
  readonly inPiece: number;
  readonly elements: number;
}

/** How many elements a tensor of this shape has. */
export function elementsIn(shape: readonly number[]): number {
  return shape.reduce((product, size) => product * size, 1);
}

/** A tensor as rows along whose second dimension indices are selected, with so many elements behind each index. */
export function stridesOf(
  shape: readonly number[],
  { dimension, runs }: Selection,
): { readonly rows: number; readonly row: number; readonly selectedRow: number; readonly inner: number } {
  const inner = elementsIn(shape.slice(dimension + 1));
  return {
    rows: elementsIn(shape.slice(0, dimension)),
    row: (shape[dimension] ?? 1) * inner,
    selectedRow: runs.reduce((sum, [, length]) => sum + length, 0) * inner,
    inner,
  };
}

/** What a piece has of elements [from, to) of its tensor. */
function spansOf(
  shape: readonly number[],
  piece: Pick<PieceRecord, 'start' | 'elements' | 'along'>,
  from: number,
  to: number,
): readonly Span[] {
  const end = piece.start + piece.elements;
  if (piece.along === undefined) {
    const first = Math.max(from, piece.start);
    const elements = Math.min(to, end) - first;
    return elements <= 0 ? [] : [{ inTensor: first, inPiece: first - piece.start, elements }];
  }
  const { row, selectedRow, inner } = stridesOf(shape, piece.along);
  const spans: Span[] = [];
  const firstRow = Math.max(Math.floor(piece.start / selectedRow), Math.floor(from / row));
  const lastRow = Math.min(Math.ceil(end / selectedRow), Math.ceil(to / row));
  for (let index = firstRow; index < lastRow; index += 1) {
    let selected = index * selectedRow;
    for (const [start, length] of piece.along.runs) {
      const whole = index * row + start * inner;
      const first = Math.max(0, piece.start - selected, from - whole);
      const elements = Math.min(length * inner, end - selected, to - whole) - first;
      if (elements > 0) {
        spans.push({ inTensor: whole + first, inPiece: selected + first - piece.start, elements });
      }
      selected += length * inner;
    }
  }
  return spans;
}

/**
 * Elements [from, from + count) of a tensor as bytes: a view where one piece has them all side by side, a copy
 * otherwise.
 *
 * @param elementBytes of one element
 * @param bytesOf all bytes of a piece, not copied
 */
export function readElements(
  { shape, pieces }: TensorRecord,
  elementBytes: number,
  bytesOf: (piece: PieceRecord) => Uint8Array,
  from: number,
  count: number,
): Uint8Array {
  const view = (piece: PieceRecord, { inPiece, elements }: Span): Uint8Array =>
    bytesOf(piece).subarray(inPiece * elementBytes, (inPiece + elements) * elementBytes);
  const found = pieces.flatMap((piece) =>
    spansOf(shape, piece, from, from + count).map((span) => ({ piece, span })),
  );
  const [only] = found;
  if (only !== undefined && only.span.elements === count) return view(only.piece, only.span);
  const target = new Uint8Array(count * elementBytes);
  for (const { piece, span } of found) target.set(view(piece, span), (span.inTensor - from) * elementBytes);
  return target;
}

/**
 * Why the pieces are not the whole tensor, each element once; undefined where they are.
 */
export function tilingFault({ shape, pieces }: TensorRecord): string | undefined {
  const bySelection = groupBy(pieces, ({ along }) => (along === undefined ? '' : JSON.stringify(along)));
  const selections = [...bySelection.values()].flatMap(([first]) => (first?.along ? [first.along] : []));
  if (selections.length > 0) {
    if (selections.length < bySelection.size) return 'has pieces of two kinds';
    const [dimension, ...others] = new Set(selections.map((each) => each.dimension));
    const size = shape[dimension ?? 0];
    if (others.length > 0 || size === undefined) return 'is selected along an impossible dimension';
    if (
      !isTiled(
        selections.flatMap(({ runs }) => runs),
        size,
      )
    )
      return 'is not selected as a whole';
  }
  for (const group of bySelection.values()) {
    const along = group[0]?.along;
    const strides = along && stridesOf(shape, along);
    const total = strides === undefined ? elementsIn(shape) : strides.rows * strides.selectedRow;
    if (
      !isTiled(
        group.map(({ start, elements }) => [start, elements] as const),
        total,
      )
    )
      return 'is not complete';
  }
  return pieces.length === 0 && elementsIn(shape) > 0 ? 'is not complete' : undefined;
}

/** Whether the runs cover [0, size), each index once. */
function isTiled(runs: readonly (readonly [number, number])[], size: number): boolean {
  let end = 0;
  for (const [start, length] of [...runs].sort(([a, m], [b, n]) => a - b || m - n)) {
    if (start !== end) return false;
    end += length;
  }
  return end === size;
}

/** The name under which a part holds a piece: the tensor's own where it is all of it. */
export function pieceName(
  { name, shape }: { readonly name: string; readonly shape: readonly number[] },
  { start, elements, along }: Pick<PieceRecord, 'start' | 'elements' | 'along'>,
): string {
  const isWhole = along === undefined && elements === elementsIn(shape);
  return isWhole ? name : `${name}[${start}:${start + elements}]`;
}

/** The shape that a part gives a piece. */
export function pieceShape(
  { shape }: { readonly shape: readonly number[] },
  { elements, along }: Pick<PieceRecord, 'elements' | 'along'>,
): readonly number[] {
  return along === undefined && elements === elementsIn(shape) ? shape : [elements];
}
