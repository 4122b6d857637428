import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { loadCheckpoint } from '../store/checkpoint.js';
import { diffCheckpoints } from './checkpoint-tools/diff.js';
import type { UserConfig } from './config.js';
import type { Engine } from './engine.js';
import { initialize } from './initialize.js';

const root = mkdtempSync(join(tmpdir(), 'trainyard-saver-'));
after(() => rmSync(root, { recursive: true }));

const MODEL = {
  architecture: 'llama',
  vocab_size: 32,
  hidden_size: 8,
  intermediate_size: 16,
  num_attention_heads: 2,
  num_hidden_layers: 1,
  max_position_embeddings: 16,
};

function withEngine(checkpoint: UserConfig['checkpoint'], body: (engine: Engine) => void): void {
  const config = {
    model: MODEL,
    train_batch_size: 1,
    optimizer: { type: 'AdamW', params: { lr: 0.1 } },
  } as const;
  const engine = initialize({ config: { ...config, ...(checkpoint && { checkpoint }) } });
  try {
    body(engine);
  } finally {
    engine.close();
  }
}

const train = (engine: Engine): void =>
  void engine.trainBatch({
    inputIds: [Array.from({ length: 8 }, (_, i) => (engine.steps * 7 + i * 3) % 32)],
  });

const decoupled = { writer: { decoupled: true } };

test('what a decoupled writer saves is the step at which it was asked, although training goes on', () => {
  const [own, expected] = [join(root, 'decoupled'), join(root, 'direct')];
  withEngine(decoupled, (engine) => {
    for (let round = 0; round < 20; round += 1) {
      train(engine);
      engine.save(own);
      train(engine);
      train(engine);
    }
  });
  withEngine(undefined, (engine) => {
    for (let step = 1; step <= 60; step += 1) {
      train(engine);
      if (step % 3 === 1) engine.save(expected);
    }
  });
  const tags = readdirSync(expected).filter((name) => name.startsWith('step-'));
  assert.equal(tags.length, 20);
  for (const tag of tags) assert.deepEqual(diffCheckpoints(join(own, tag), join(expected, tag)).tensors, []);
});

test('a program that never yields to its event loop hears of a checkpoint all the same', () => {
  withEngine(decoupled, (engine) => {
    train(engine);
    engine.save(join(root, 'heard'));
    assert.deepEqual(engine.takeSaved(), []);
    const until = performance.now() + 20_000;
    let saved = engine.takeSaved();
    while (saved.length === 0 && performance.now() < until) {
      train(engine);
      saved = engine.takeSaved();
    }
    assert.deepEqual(
      saved.map(({ step, folder }) => [step, folder]),
      [[1, join(root, 'heard', 'step-1')]],
    );
    assert.ok((saved[0]?.stallMs ?? 0) <= (saved[0]?.totalMs ?? 0));
  });
});

test('only so many checkpoints stay, never fewer than that, and never without the one that was loaded', () => {
  const directory = join(root, 'kept');
  withEngine(undefined, (engine) => {
    train(engine);
    engine.save(directory);
  });
  withEngine({ keep: 2, ...decoupled }, (engine) => {
    engine.load(directory);
    for (let step = 2; step <= 6; step += 1) {
      train(engine);
      engine.save(directory);
      // Another program looks while the thread writes.
      assert.ok(loadCheckpoint(directory));
    }
  });
  assert.deepEqual(readdirSync(directory).sort(), ['latest', 'step-1', 'step-5', 'step-6']);
});

test('a save that fails ends the run, or is a warning, as the configuration says', () => {
  const blocked = join(root, 'blocked');
  writeFileSync(blocked, 'a file in the place of a folder');
  for (const writer of [{ decoupled: true }, { decoupled: false }]) {
    withEngine({ writer }, (engine) => {
      const save = (): void => {
        engine.save(blocked);
        engine.finishSave();
      };
      assert.throws(save, (error) => error instanceof TrainyardError && error.code === 'OUTPUT_UNWRITABLE');
      train(engine);
    });
    withEngine({ writer, on_failure: 'warn' }, (engine) => {
      engine.save(blocked);
      engine.finishSave();
      assert.deepEqual(engine.takeSaved(), []);
      train(engine);
    });
  }
});

test('drafts that a crash has left go with the next save', () => {
  const directory = join(root, 'drafts');
  mkdirSync(join(directory, 'step-3.tmp-12345678'), { recursive: true });
  withEngine(undefined, (engine) => void engine.save(directory, { tag: 'mine' }));
  assert.deepEqual(readdirSync(directory).sort(), ['latest', 'mine']);
});
