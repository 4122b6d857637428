import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { wholePiece } from '../store/checkpoint/write.js';
import { loadCheckpoint, saveCheckpoint } from '../store/checkpoint.js';
import type { UserConfig } from './config.js';
import type { Engine } from './engine.js';
import { initialize } from './initialize.js';

const root = mkdtempSync(join(tmpdir(), 'trainyard-checkpoint-'));
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
const HEAD = 'lm_head.weight';

const configOf = (momentum: number): UserConfig => ({
  model: MODEL,
  train_batch_size: 2,
  optimizer: { type: 'SGD', params: { momentum } },
});

function withEngine(momentum: number, body: (engine: Engine) => void): void {
  const engine = initialize({ config: configOf(momentum) });
  try {
    body(engine);
  } finally {
    engine.close();
  }
}

function assertRefused(directory: string, momentum: number, expected: RegExp, got: RegExp): void {
  withEngine(momentum, (engine) =>
    assert.throws(
      () => engine.load(directory),
      (error) => {
        assert.ok(error instanceof TrainyardError, String(error));
        assert.equal(error.code, 'CHECKPOINT_INVALID');
        assert.match(error.report.expected ?? '', expected);
        assert.match(error.report.got ?? '', got);
        return true;
      },
    ),
  );
}

test('a tensor that this run has no place for is named', () => {
  const directory = join(root, 'leftover');
  withEngine(0.9, (engine) => engine.save(directory));
  assertRefused(directory, 0, /^no such tensor$/, /^optimizer\.momentum_buffer\./);
});

test('a tensor that the checkpoint lacks is named with its shape', () => {
  const directory = join(root, 'missing');
  withEngine(0, (engine) => engine.save(directory));
  assertRefused(directory, 0.9, /^optimizer\.momentum_buffer\.\S+ \[.+\]$/, /^no such tensor$/);
});

test('a tensor of another shape is named with both', () => {
  const directory = join(root, 'shape');
  const original = join(root, 'original');
  withEngine(0, (engine) => engine.save(original));
  const checkpoint = loadCheckpoint(original);
  assert.ok(checkpoint);
  saveCheckpoint(directory, {
    state: checkpoint.state,
    tensors: checkpoint.names.map((name) => {
      const { dtype, shape, bytes } = checkpoint.read(name);
      const saved = { name, dtype, shape: name === HEAD ? [...shape].reverse() : shape };
      return wholePiece({ ...saved, bytes: bytes() });
    }),
  });
  assertRefused(directory, 0, /^lm_head\.weight \[32, 8\]$/, /^lm_head\.weight \[8, 32\]$/);
});
