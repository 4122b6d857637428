import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Bundle, readBundle, writeBundle } from './bundle.js';

const folder = mkdtempSync(join(tmpdir(), 'trainyard-bundle-'));
after(() => rmSync(folder, { recursive: true }));

const microBatch = { rows: 1, length: 2, samples: [4], input_ids: [1, 2], labels: [2, -100] };
const bundle: Bundle = {
  format: 'trainyard-non-finite',
  version: 1,
  step: 3,
  decision: 'skip',
  loss: 'NaN',
  gradient_norm: 'Infinity',
  loss_factor: 0.5,
  loss_scale: 1,
  vanished: false,
  precision: 'fp32',
  identity: { seed: 0 },
  config: { seed: 0, nested: { list: [1, null] } },
  found: [null],
  ranks: [{ random: 'AAEC', data: 0, micro_batches: [microBatch] }],
};

test('a bundle is read as it was written', () => {
  writeBundle(folder, bundle);
  assert.deepEqual(readBundle(folder), bundle);
});

const spoilt: Readonly<Record<string, string>> = {
  'is no JSON': '{',
  'has a key twice': JSON.stringify(bundle).replace('"step":3', '"step":3,"step":4'),
  'has an unknown key': JSON.stringify({ ...bundle, code: 'process.exit()' }),
  'is of another version': JSON.stringify({ ...bundle, version: 2 }),
  'is nested without end': `{"config":${'['.repeat(100_000)}`,
  'has a number that no double holds': JSON.stringify(bundle).replace('"seed":0', '"seed":1e999'),
  'has fewer ids than it says': JSON.stringify({
    ...bundle,
    ranks: [{ random: 'AAEC', data: 0, micro_batches: [{ ...microBatch, rows: 9 }] }],
  }),
  'has an id that is none': JSON.stringify({
    ...bundle,
    ranks: [{ random: 'AAEC', micro_batches: [{ ...microBatch, input_ids: [1, -200] }] }],
  }),
};

for (const [what, content] of Object.entries(spoilt)) {
  test(`a bundle that ${what} is refused`, () => {
    writeFileSync(join(folder, 'bundle.json'), content);
    assert.throws(() => readBundle(folder), { code: 'BUNDLE_INVALID' });
  });
}

test('a folder without a bundle is refused', () => {
  assert.throws(() => readBundle(join(folder, 'none')), { code: 'BUNDLE_INVALID' });
});
