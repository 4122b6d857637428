import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadConfig } from '../config.js';
import { explainConfig } from './explain.js';

const folder = mkdtempSync(join(tmpdir(), 'trainyard-explain-'));
after(() => rmSync(folder, { recursive: true }));

test('every setting has its value and its place', () => {
  const file = join(folder, 'run.json');
  writeFileSync(
    file,
    `{
  "steps": 90, // of them
  "train_batch_size": 8,
  "optimizer": {"type": "adamw", "params": {"lr": "auto", "weight_decay": 0.1}},
  "scheduler": {"type": "WarmupDecayLR"}
}`,
  );
  const loaded = loadConfig(file, ['seed=7', 'optimizer.params.eps=1e-6'], { worldSize: 2 });
  const settings = new Map(explainConfig(loaded).map(({ key, ...setting }) => [key, setting]));
  assert.deepEqual(settings.get('steps'), { value: 90, source: 'file', place: `${file}:2:12` });
  assert.deepEqual(settings.get('seed'), { value: 7, source: 'flag', place: '--set seed=7' });
  assert.deepEqual(settings.get('device'), { value: 'cpu', source: 'default', place: 'default' });
  assert.deepEqual(settings.get('optimizer.params.eps')?.source, 'flag');
  assert.deepEqual(settings.get('optimizer.params.weight_decay')?.place, `${file}:4:75`);
  assert.deepEqual(settings.get('optimizer.params.betas'), {
    value: [0.9, 0.999],
    source: 'default',
    place: 'default',
  });
  assert.deepEqual(settings.get('train_micro_batch_size_per_gpu')?.value, 4);
  assert.deepEqual(settings.get('train_micro_batch_size_per_gpu')?.source, 'derived');
  assert.deepEqual(settings.get('scheduler.params.total_num_steps')?.place, 'from steps');
  assert.deepEqual(settings.get('data_parallel_size')?.value, 2);
});
