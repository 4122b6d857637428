import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { MergeTable } from './merge-table.js';

/** The definition: again and again, the earliest merge at its leftmost place. */
function mergeByDefinition(
  symbols: readonly number[],
  merges: readonly (readonly [number, number, number])[],
): number[] {
  const current = [...symbols];
  for (;;) {
    const merge = merges.find(([left, right]) =>
      current.some((symbol, at) => symbol === left && current[at + 1] === right),
    );
    if (merge === undefined) return current;
    const [left, right, result] = merge;
    const place = current.findIndex((symbol, at) => symbol === left && current[at + 1] === right);
    current.splice(place, 2, result);
  }
}

describe('MergeTable', () => {
  const id = fc.nat({ max: 11 });
  // A result is new, as in a trained vocabulary: merges never lead back.
  const merges = fc
    .uniqueArray(fc.tuple(id, id), { maxLength: 12, selector: ([left, right]) => left * 100 + right })
    .map((pairs) =>
      pairs.map(([left, right], rank): [number, number, number] => [
        left % (4 + rank),
        right % (4 + rank),
        4 + rank,
      ]),
    )
    .map((all) =>
      all.filter(
        ([left, right], at) => all.findIndex((other) => other[0] === left && other[1] === right) === at,
      ),
    );

  for (const [name, maxLength, minLength] of [
    ['short words', 40, 0],
    ['long words', 200, 60],
  ] as const) {
    it(`merges ${name} as the definition says`, () => {
      fc.assert(
        fc.property(merges, fc.array(fc.nat({ max: 3 }), { minLength, maxLength }), (table, word) => {
          assert.deepEqual(new MergeTable(table, 100).apply([...word]), mergeByDefinition(word, table));
        }),
        { numRuns: 500 },
      );
    });
  }

  it('merges a word of a million symbols', () => {
    const doubling = Array.from({ length: 15 }, (_, rank): [number, number, number] => [
      rank,
      rank,
      rank + 1,
    ]);
    const merged = new MergeTable(doubling, 100).apply(new Array<number>(2 ** 20).fill(0));
    assert.deepEqual(merged, new Array<number>(2 ** 5).fill(15));
  });
});
