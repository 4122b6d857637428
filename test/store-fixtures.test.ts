import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { openModelFolder } from '../src/store/hugging-face/model-folder.js';
import { saveModelFolder } from '../src/store/hugging-face/save-model-folder.js';

const MODELS = join(import.meta.dirname, '../../test/fixtures/models');

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-fixtures-'));
});
after(() => rmSync(root, { recursive: true }));

const folders = readdirSync(MODELS, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map(({ name }) => join(MODELS, name));

for (const folder of folders) {
  test(`${basename(folder)}, written by transformers, is written again as it was`, () => {
    const model = openModelFolder(folder);
    const tensors = model.names.map((name) => ({ name, ...model.read(name) }));
    for (const [form, maximumShardBytes] of Object.entries({ single: 1e9, sharded: 30_000 })) {
      const copy = join(root, `${basename(folder)}-${form}`);
      saveModelFolder(copy, {
        config: model.config,
        tensors,
        companionFiles: model.companionFiles,
        maximumShardBytes,
      });
      const again = openModelFolder(copy);
      assert.deepEqual(new Set(again.names), new Set(model.names));
      for (const { name, dtype, shape, bytes } of tensors) {
        const found = again.read(name);
        assert.deepEqual([found.dtype, found.shape], [dtype, shape]);
        assert.equal(Buffer.compare(found.bytes, bytes), 0, name);
      }
      for (const [key, value] of Object.entries(model.config))
        assert.deepEqual(again.config[key], value, key);
    }
    if (readdirSync(folder).includes('model.safetensors')) {
      const written = readFileSync(join(root, `${basename(folder)}-single`, 'model.safetensors'));
      assert.deepEqual(
        written,
        readFileSync(join(folder, 'model.safetensors')),
        'the same file, byte for byte',
      );
    }
  });
}

test('there are fixtures', () => assert.ok(folders.length >= 10));
