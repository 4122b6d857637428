import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { PieceRecord, Selection, TensorRecord } from './manifest.js';
import { elementsIn, readElements, stridesOf, tilingFault } from './pieces.js';

/** Of a tensor: how a tensor axis selects along one dimension, and where each selection is cut once more. */
interface Layout {
  readonly shape: readonly number[];
  readonly dimension: number;
  /** Which of so many ranks has each index. */
  readonly owners: readonly number[] | undefined;
  readonly cuts: readonly number[];
}

const layouts = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 4 }).chain((shape) =>
  fc.nat({ max: shape.length - 1 }).chain((dimension) =>
    fc.record({
      shape: fc.constant(shape),
      dimension: fc.constant(dimension),
      owners: fc.option(fc.array(fc.nat({ max: 2 }), { minLength: 6, maxLength: 6 }), { nil: undefined }),
      cuts: fc.array(fc.nat({ max: 60 }), { maxLength: 3 }),
    }),
  ),
);

/** The pieces of all ranks, and what each holds when every element's value is its index. */
function piecesOf({ shape, dimension, owners, cuts }: Layout): {
  readonly record: TensorRecord;
  readonly held: ReadonlyMap<PieceRecord, Uint8Array>;
} {
  const held = new Map<PieceRecord, Uint8Array>();
  const size = shape[dimension] ?? 0;
  const selections: (Selection | undefined)[] =
    owners === undefined
      ? [undefined]
      : [0, 1, 2].map((owner) => runsOf(owners.slice(0, size), owner, dimension));
  for (const [owner, along] of selections.entries()) {
    const selected = Array.from({ length: elementsIn(shape) }, (_, element) => element).filter((element) => {
      if (along === undefined) return true;
      const { inner } = stridesOf(shape, along);
      const index = Math.floor(element / inner) % size;
      return along.runs.some(([start, length]) => index >= start && index < start + length);
    });
    const places = [0, ...cuts.filter((cut) => cut < selected.length), selected.length];
    const inOrder = [...new Set(places)].sort((left, right) => left - right);
    for (const [at, start] of inOrder.slice(0, -1).entries()) {
      const elements = (inOrder[at + 1] ?? 0) - start;
      const piece = { file: `part-0000${owner}.safetensors`, start, elements, crc32: '00000000' };
      const values = Uint16Array.from(selected.slice(start, start + elements));
      held.set({ ...piece, ...(along && { along }) }, new Uint8Array(values.buffer));
    }
  }
  return { record: { name: 'x', dtype: 'int16', shape: [...shape], pieces: [...held.keys()] }, held };
}

function runsOf(owners: readonly number[], owner: number, dimension: number): Selection {
  const runs: [number, number][] = [];
  for (const [index, each] of owners.entries()) if (each === owner) runs.push([index, 1]);
  return { dimension, runs };
}

test('whatever elements are asked for come out of whatever pieces have them', () => {
  fc.assert(
    fc.property(layouts, fc.nat(), fc.nat(), (layout, some, more) => {
      const { record, held } = piecesOf(layout);
      assert.equal(tilingFault(record), undefined);
      const total = elementsIn(layout.shape);
      const from = some % total;
      const count = more % (total - from + 1);
      const bytesOf = (piece: PieceRecord): Uint8Array => held.get(piece) ?? new Uint8Array(0);
      const bytes = readElements(record, 2, bytesOf, from, count);
      const values = [...new Uint16Array(bytes.slice().buffer)];
      assert.deepEqual(
        values,
        Array.from({ length: count }, (_, index) => from + index),
      );
    }),
    { numRuns: 1000 },
  );
});

test('a single element is looked for in the one piece that has it', () => {
  fc.assert(
    fc.property(layouts, fc.nat(), (layout, some) => {
      const { record, held } = piecesOf(layout);
      const looked: PieceRecord[] = [];
      const bytesOf = (piece: PieceRecord): Uint8Array => {
        looked.push(piece);
        return held.get(piece) ?? new Uint8Array(0);
      };
      readElements(record, 2, bytesOf, some % elementsIn(layout.shape), 1);
      assert.equal(looked.length, 1);
    }),
  );
});

test('a piece that is missing, there twice, or elsewhere is noticed', () => {
  fc.assert(
    fc.property(
      layouts,
      fc.nat(),
      fc.constantFrom('missing', 'twice', 'moved', 'longer'),
      (layout, some, what) => {
        const { record } = piecesOf(layout);
        const index = some % record.pieces.length;
        const piece = record.pieces[index];
        assert.ok(piece);
        const instead = {
          missing: [],
          twice: [piece, piece],
          moved: [{ ...piece, start: piece.start + 1 }],
          longer: [{ ...piece, elements: piece.elements + 1 }],
        }[what];
        const pieces = record.pieces.flatMap((each) => (each === piece ? instead : [each]));
        assert.notEqual(tilingFault({ ...record, pieces }), undefined);
      },
    ),
    { numRuns: 500 },
  );
});
