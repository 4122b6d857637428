import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { createBatchSource } from './batch-source.js';
import { DocumentDataset } from './document-dataset.js';
import { PackedDataset } from './packed-dataset.js';
import { createSampler } from './sampler.js';
import { NO_TARGET } from './sequence-dataset.js';
import type { TokenStore } from './token-store.js';
import { unigramEntropy } from './unigram-entropy.js';

function storeOf(documents: readonly (readonly number[])[]): TokenStore {
  let end = 0;
  return {
    ids: Uint16Array.from(documents.flat()),
    documentEnds: Float64Array.from(documents, (ids) => (end += ids.length)),
    kind: 'text',
    largestId: Math.max(...documents.flat()),
    largestIdPlace: '',
  };
}

const documents = fc.array(fc.array(fc.nat({ max: 999 }), { minLength: 2, maxLength: 20 }), {
  minLength: 1,
  maxLength: 20,
});

describe('PackedDataset', () => {
  it('makes every id but the first, up to the last full window, a target once', () => {
    fc.assert(
      fc.property(documents, fc.integer({ min: 1, max: 7 }), (all, length) => {
        const ids = all.flat();
        fc.pre(ids.length > length);
        const dataset = new PackedDataset(storeOf(all), length);
        const sequences = Array.from({ length: dataset.length }, (_, index) => dataset.get(index));
        assert.ok(ids.length - 1 - dataset.length * length < length);
        assert.deepEqual(
          sequences.flatMap(({ inputIds }) => [...inputIds]),
          ids.slice(0, dataset.length * length),
        );
        assert.deepEqual(
          sequences.flatMap(({ labels }) => [...labels]),
          ids.slice(1, dataset.length * length + 1),
        );
      }),
    );
  });
  it('refuses a corpus that fills no window', () => {
    assert.throws(() => new PackedDataset(storeOf([[1, 2, 3]]), 3), { code: 'DATA_INVALID' });
    assert.equal(new PackedDataset(storeOf([[1, 2, 3, 4]]), 3).length, 1);
  });
});

describe('DocumentDataset', () => {
  it('keeps documents apart, pads them, and counts their targets', () => {
    const dataset = new DocumentDataset(
      storeOf([
        [1, 2, 3],
        [4, 5],
        [6, 7, 8, 9, 10],
      ]),
      4,
      0,
    );
    const row = (index: number): number[][] => [
      [...dataset.get(index).inputIds],
      [...dataset.get(index).labels],
    ];
    assert.equal(dataset.sequenceLength, 4);
    assert.deepEqual(row(0), [
      [1, 2, 3, 0],
      [2, 3, NO_TARGET, NO_TARGET],
    ]);
    assert.deepEqual(row(1), [
      [4, 5, 0, 0],
      [5, NO_TARGET, NO_TARGET, NO_TARGET],
    ]);
    assert.deepEqual(row(2), [
      [6, 7, 8, 9],
      [7, 8, 9, 10],
    ]);
    assert.deepEqual(
      [0, 1, 2].map((index) => dataset.targetTokens(index)),
      [2, 1, 4],
    );
  });
  it('is no longer than its longest document', () => {
    assert.equal(
      new DocumentDataset(
        storeOf([
          [1, 2, 3],
          [4, 5],
        ]),
        1024,
        0,
      ).sequenceLength,
      3,
    );
  });
  it('counts what it labels', () => {
    fc.assert(
      fc.property(documents, fc.integer({ min: 1, max: 25 }), (all, longest) => {
        const dataset = new DocumentDataset(storeOf(all), longest, 0);
        for (let index = 0; index < dataset.length; index++) {
          const targets = dataset.get(index).labels.filter((label) => label !== NO_TARGET).length;
          assert.equal(dataset.targetTokens(index), targets);
        }
      }),
    );
  });
});

describe('createBatchSource', () => {
  const dataset = new DocumentDataset(
    storeOf(Array.from({ length: 23 }, (_, id) => [id, id + 100, id + 200].slice(0, 2 + (id % 2)))),
    8,
    0,
  );
  const sampler = createSampler(dataset.length, 7);

  /** World size, rows of a micro-batch, micro-batches. */
  const layouts = [
    [1, 12, 1],
    [1, 3, 4],
    [2, 3, 2],
    [4, 3, 1],
    [3, 2, 2],
    [12, 1, 1],
  ] as const;

  function globalBatch(
    [worldSize, microBatchSize, gradientAccumulationSteps]: (typeof layouts)[number],
    step: number,
  ): readonly number[] {
    const rows: number[] = [];
    for (let micro = 0; micro < gradientAccumulationSteps; micro++) {
      for (let rank = 0; rank < worldSize; rank++) {
        const slice = { rank, worldSize, microBatchSize, gradientAccumulationSteps };
        rows.push(...createBatchSource(dataset, sampler, slice).microBatch(step, micro).sampleIndexes);
      }
    }
    return rows;
  }

  it('shows every sample once per epoch to a run that is resumed on other ranks after every step', () => {
    const epochs = 12;
    const steps = (dataset.length * epochs) / 12;
    const seen = Array.from({ length: steps }, (_, step) =>
      globalBatch(layouts[step % layouts.length] ?? layouts[0], step),
    ).flat();
    for (let epoch = 0; epoch < epochs; epoch++) {
      const inOrder = seen.slice(epoch * dataset.length, (epoch + 1) * dataset.length).sort((a, b) => a - b);
      assert.deepEqual(
        inOrder,
        Array.from({ length: dataset.length }, (_, sample) => sample),
      );
    }
  });

  it('cuts the same global batch for every world size', () => {
    for (const step of [0, 1, 5]) {
      const batches = layouts.map((layout) => globalBatch(layout, step));
      for (const rows of batches) assert.deepEqual(rows, batches[0]);
      assert.deepEqual(
        batches[0],
        Array.from({ length: 12 }, (_, row) => sampler.indexAt(step * 12 + row)),
      );
    }
  });

  it('fills rows with the sequences, in 64 bits, and counts the targets of all ranks', () => {
    const sources = [0, 1].map((rank) =>
      createBatchSource(dataset, sampler, {
        rank,
        worldSize: 2,
        microBatchSize: 2,
        gradientAccumulationSteps: 2,
      }),
    );
    let targets = 0;
    for (const source of sources) {
      for (const micro of [0, 1]) {
        const batch = source.microBatch(3, micro);
        assert.deepEqual([batch.rows, batch.length], [2, 3]);
        batch.sampleIndexes.forEach((index, row) => {
          const { inputIds, labels } = dataset.get(index);
          assert.deepEqual([...batch.inputIds.slice(row * 3, row * 3 + 3)].map(Number), [...inputIds]);
          assert.deepEqual([...batch.labels.slice(row * 3, row * 3 + 3)].map(Number), [...labels]);
        });
        targets += batch.targetTokens;
      }
    }
    assert.equal(sources[0]?.targetTokens(3), targets);
  });
});

describe('unigramEntropy', () => {
  it('is log n for n equally frequent ids, and 0 for one', () => {
    assert.ok(Math.abs(unigramEntropy(Uint16Array.from([5, 6, 7, 8, 5, 6, 7, 8])) - Math.log(4)) < 1e-12);
    assert.equal(unigramEntropy(new Uint32Array(10)), 0);
  });
  it('weighs ids by their frequency', () => {
    const expected = -(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25));
    assert.ok(Math.abs(unigramEntropy(Int32Array.from([1, 1, 1, 2])) - expected) < 1e-12);
  });
});
