import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { MicroBatchData } from '../src/data/batch-source.js';
import type { Engine } from '../src/engine/engine.js';
import { initialize, TrainyardError, type UserConfig } from '../src/index.js';
import { liveTensors } from '../src/tensor/tensor.js';
import { ODD_MODEL } from './odd-model.js';

// Where state is in files, each step leaves its update to the next one. Nobody is to notice, whatever happens between.

let disk = '';
before(() => {
  disk = join(mkdtempSync(join(tmpdir(), 'trainyard-left-')), 'nvme');
  mkdirSync(disk);
});
after(() => rmSync(join(disk, '..'), { recursive: true }));

const ROWS = 4;
const LENGTH = 12;

function configs(lr: number): readonly [plain: UserConfig, ...UserConfig[]] {
  const files = { device: 'nvme', nvme_path: disk } as const;
  const common = {
    model: ODD_MODEL,
    train_batch_size: ROWS,
    gradient_accumulation_steps: 2,
    gradient_clipping: 0.5,
    optimizer: { type: 'AdamW', params: { lr } },
  } as const satisfies UserConfig;
  const tiles = { sub_group_size: 2048 } as const;
  return [
    common,
    { ...common, zero_optimization: { stage: 1, offload_optimizer: files, ...tiles } },
    {
      ...common,
      zero_optimization: { stage: 2, offload_optimizer: { ...files, ratio: 0.5 }, ...tiles },
    },
    { ...common, zero_optimization: { stage: 3, offload_optimizer: files, offload_param: files, ...tiles } },
  ];
}

/** Of one micro-batch. */
function rows(step: number, micro: number) {
  const inputIds = Array.from({ length: ROWS / 2 }, (_, row) =>
    Array.from({ length: LENGTH }, (_, i) => (micro * 17 + row * 11 + i * 5 + step) % ODD_MODEL.vocab_size),
  );
  return { inputIds };
}

function microBatch({ inputIds }: ReturnType<typeof rows>): MicroBatchData {
  const ids = BigInt64Array.from(inputIds.flat(), BigInt);
  return {
    inputIds: ids,
    labels: ids,
    rows: ROWS / 2,
    length: LENGTH,
    targetTokens: ids.length,
    sampleIndexes: [],
  };
}

function batchOf(step: number) {
  return { inputIds: [0, 1].flatMap((micro) => rows(step, micro).inputIds) };
}

function weightsOf(engine: Engine): ReadonlyMap<string, readonly number[]> {
  return engine.gathered(
    engine.parameterNames,
    (tensors) => new Map([...tensors].map(([name, tensor]) => [name, tensor.view([-1]).toArray()])),
  );
}

test('after a step that breaks off, within the update of the step before or after it, the weights are those after that', () => {
  const before = liveTensors();
  const [plain, ...offloaded] = configs(0.01);
  const reference = initialize({ config: plain });
  for (const step of [0, 1]) reference.trainBatch(batchOf(step));
  const expected = weightsOf(reference);
  reference.close();
  for (const config of offloaded) {
    // Its data cannot be read, the first part of them or the second: some updates are made then, or all.
    for (const broken of [0, 1]) {
      const engine = initialize({ config });
      for (const step of [0, 1]) engine.trainBatch(batchOf(step));
      assert.throws(
        () =>
          engine.trainStep((micro) => {
            if (micro === broken) throw new Error('no data');
            return microBatch(rows(9, micro));
          }),
        /no data/,
      );
      assert.deepEqual(weightsOf(engine), expected);
      engine.close();
    }
  }
  assert.equal(liveTensors(), before);
});

test('after a step that is not finite the weights are those of the last one that was', () => {
  const [plain, ...offloaded] = configs(1e30).map((config) => {
    using engine = initialize({ config });
    engine.trainBatch(batchOf(0));
    assert.throws(
      () => engine.trainBatch(batchOf(1)),
      (error) => error instanceof TrainyardError && error.code === 'TRAINING_DIVERGED',
    );
    return weightsOf(engine);
  });
  for (const weights of offloaded) assert.deepEqual(weights, plain);
});
