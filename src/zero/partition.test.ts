import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type FlatLayout, planFlatLayout } from '../nn/flat-layout.js';
import { piecesOf, planPartition, planParts, sliceOf } from './partition.js';

const initializer = { kind: 'constant', value: 0 } as const;

/** Layouts of random models, empty blocks, odd sizes and frozen blocks included, for random worlds. */
const worlds = fc
  .record({
    blocks: fc.array(fc.array(fc.integer({ min: 1, max: 90 }), { maxLength: 4 }), {
      minLength: 1,
      maxLength: 6,
    }),
    frozen: fc.nat(8),
    ranks: fc.integer({ min: 1, max: 7 }),
  })
  .map(({ blocks, frozen, ranks }) => {
    const declared = blocks.map((sizes, index) => ({
      name: `block${index}`,
      parameters: sizes.map((size, position) => ({ name: `p${position}`, shape: [size], initializer })),
    }));
    const layout = planFlatLayout(declared, (name) => name.startsWith(`block${frozen}.`), ranks);
    return { layout, ranks };
  });

function trainable(layout: FlatLayout) {
  return layout.blocks.flat().filter((slot) => slot.trainable);
}

test('every element of every parameter has one owner, and all ranks own equally much', () => {
  fc.assert(
    fc.property(worlds, ({ layout, ranks }) => {
      const partition = planPartition(layout, ranks);
      const owners = new Array<number>(layout.trainableElements).fill(0);
      for (const slot of trainable(layout)) {
        let next = 0;
        for (const { rank, range, sliceOffset, offset, elements } of piecesOf(partition, slot)) {
          assert.equal(offset, next);
          next += elements;
          const slice = sliceOf(partition, range, rank);
          assert.equal(slice.start + sliceOffset, slot.offset + offset);
          assert.ok(sliceOffset + elements <= slice.end - slice.start);
          for (let element = 0; element < elements; element += 1) {
            const at = slot.offset + offset + element;
            owners[at] = (owners[at] ?? 0) + 1;
          }
        }
        assert.equal(next, slot.elements);
      }
      for (const slot of trainable(layout)) {
        assert.deepEqual(new Set(owners.slice(slot.offset, slot.offset + slot.elements)), new Set([1]));
      }
      for (let rank = 0; rank < ranks; rank += 1) {
        const owned = partition.ranges.map((_, range) => sliceOf(partition, range, rank));
        assert.equal(
          owned.reduce((sum, { start, end }) => sum + end - start, 0),
          layout.trainableElements / ranks,
        );
      }
    }),
  );
});

test('padding stays below one cache line for each rank and block', () => {
  fc.assert(
    fc.property(worlds, ({ layout, ranks }) => {
      for (const [block, { start, end }] of layout.ranges.entries()) {
        const slots = (layout.blocks[block] ?? []).filter((slot) => slot.trainable);
        const used = slots.reduce((sum, { elements }) => sum + elements, 0);
        assert.ok(end - start - used < 16 * ranks);
      }
    }),
  );
});

test('parts cover every slice once and stay inside their bucket', () => {
  fc.assert(
    fc.property(worlds, fc.integer({ min: 1, max: 20_000 }), ({ layout, ranks }, bucket) => {
      if (ranks === 1) return;
      const partition = planPartition(layout, ranks);
      const parts = planParts(partition, bucket, (block) => [block]);
      for (const [block, { start, end }] of partition.ranges.entries()) {
        let covered = 0;
        for (const part of parts.filter((each) => each.block === block)) {
          assert.equal(part.start, covered);
          assert.ok((part.end - part.start) * ranks <= Math.max(bucket, 1024 * ranks));
          covered = part.end;
        }
        assert.equal(covered, (end - start) / ranks);
      }
    }),
  );
});
