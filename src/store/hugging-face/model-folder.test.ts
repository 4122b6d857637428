import assert from 'node:assert/strict';
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { type ErrorReport, TrainyardError } from '../../base/errors.js';
import { type TensorSource, writeSafetensors } from '../safetensors/write.js';
import { matchTensors } from './match-tensors.js';
import { openModelFolder } from './model-folder.js';
import { saveModelFolder } from './save-model-folder.js';

let root = '';
let count = 0;
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-model-'));
});
after(() => rmSync(root, { recursive: true }));

const newFolder = (): string => {
  count += 1;
  return join(root, `model-${count}`);
};

const tensor = (name: string, size: number, first = 0): TensorSource => ({
  name,
  dtype: 'uint8',
  shape: [size],
  bytes: Uint8Array.from({ length: size }, (_, index) => first + index),
});

const TENSORS = [
  tensor('embed', 8),
  tensor('layers.0.weight', 6, 20),
  tensor('layers.1.weight', 6, 40),
  tensor('head', 0),
];
const CONFIG = { model_type: 'llama', bos_token_id: 1, dtype: 'float32' };

function refused(folder: string, pattern: RegExp, part: keyof ErrorReport = 'what'): void {
  assert.throws(
    () => openModelFolder(folder),
    (error) => {
      assert.ok(error instanceof TrainyardError, String(error));
      assert.ok(error.code === 'MODEL_UNREADABLE' || error.code === 'SAFETENSORS_INVALID');
      assert.match(error.report[part] ?? '', pattern);
      return true;
    },
  );
}

function assertHoldsTensors(folder: string, tensors: readonly TensorSource[]): void {
  const model = openModelFolder(folder);
  assert.deepEqual(new Set(model.names), new Set(tensors.map(({ name }) => name)));
  for (const each of tensors) {
    assert.ok('bytes' in each);
    const { dtype, shape, bytes } = model.read(each.name);
    assert.deepEqual([dtype, shape, Buffer.from(bytes)], [each.dtype, each.shape, Buffer.from(each.bytes)]);
  }
}

test('a model is saved and opened again, in one file or in several', () => {
  const tokenizer = join(root, 'tokenizer.json');
  writeFileSync(tokenizer, '{"version":"1.0"}');
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 40 }), (maximumShardBytes) => {
      const folder = newFolder();
      const companionFiles = new Map([['tokenizer.json', tokenizer]]);
      saveModelFolder(folder, { config: CONFIG, tensors: TENSORS, companionFiles, maximumShardBytes });
      assertHoldsTensors(folder, TENSORS);
      const model = openModelFolder(folder);
      assert.deepEqual({ ...model.config }, { ...CONFIG, torch_dtype: 'float32' });
      assert.equal(readFileSync(model.tokenizerPath ?? '', 'utf8'), '{"version":"1.0"}');
      assert.deepEqual([...model.companionFiles.keys()], ['tokenizer.json', 'generation_config.json']);
      const files = readdirSync(folder);
      assert.equal(files.includes('model.safetensors'), maximumShardBytes >= 20);
      assert.equal(files.includes('model.safetensors.index.json'), maximumShardBytes < 20);
      assert.ok(files.every((name) => !name.startsWith('.')));
    }),
    { numRuns: 25 },
  );
});

test('an index names every tensor and the total size', () => {
  const folder = newFolder();
  saveModelFolder(folder, { config: CONFIG, tensors: TENSORS, maximumShardBytes: 8 });
  const index = JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8'));
  assert.deepEqual(index, {
    metadata: { total_size: 20 },
    weight_map: {
      embed: 'model-00001-of-00003.safetensors',
      head: 'model-00003-of-00003.safetensors',
      'layers.0.weight': 'model-00002-of-00003.safetensors',
      'layers.1.weight': 'model-00003-of-00003.safetensors',
    },
  });
});

test('a second save replaces the first and leaves what is not its own', () => {
  const folder = newFolder();
  saveModelFolder(folder, { config: CONFIG, tensors: TENSORS, maximumShardBytes: 8 });
  mkdirSync(join(folder, 'checkpoints'));
  writeFileSync(join(folder, 'notes.txt'), 'mine');
  writeFileSync(join(folder, 'chat_template.jinja'), 'old');
  saveModelFolder(folder, { config: { model_type: 'gpt2' }, tensors: [tensor('wte', 3)] });
  assertHoldsTensors(folder, [tensor('wte', 3)]);
  assert.deepEqual(readdirSync(folder).sort(), [
    'checkpoints',
    'config.json',
    'generation_config.json',
    'model.safetensors',
    'notes.txt',
  ]);
});

test('a model whose publishing was interrupted is read from where its files are, and finished by the next save', () => {
  const folder = newFolder();
  saveModelFolder(folder, { config: CONFIG, tensors: TENSORS, maximumShardBytes: 8 });
  const newer = newFolder();
  saveModelFolder(newer, { config: CONFIG, tensors: [tensor('wte', 3)] });
  renameSync(newer, join(folder, '.model-complete'));
  assertHoldsTensors(folder, [tensor('wte', 3)]);
  for (const name of readdirSync(folder)) if (!name.startsWith('.')) rmSync(join(folder, name));
  renameSync(join(folder, '.model-complete'), join(folder, '.model-moving'));
  renameSync(join(folder, '.model-moving/model.safetensors'), join(folder, 'model.safetensors'));
  assertHoldsTensors(folder, [tensor('wte', 3)]);
  saveModelFolder(folder, { config: CONFIG, tensors: TENSORS });
  assertHoldsTensors(folder, TENSORS);
  assert.deepEqual(readdirSync(folder).sort(), [
    'config.json',
    'generation_config.json',
    'model.safetensors',
  ]);
});

test('a producer that fails leaves the old model and nothing else', () => {
  const folder = newFolder();
  saveModelFolder(folder, { config: CONFIG, tensors: TENSORS });
  const failing: TensorSource = {
    name: 'a',
    dtype: 'uint8',
    shape: [1],
    write() {
      throw new Error('no bytes today');
    },
  };
  assert.throws(() => saveModelFolder(folder, { config: CONFIG, tensors: [failing] }), /no bytes today/);
  assertHoldsTensors(folder, TENSORS);
  assert.deepEqual(readdirSync(folder).sort(), [
    'config.json',
    'generation_config.json',
    'model.safetensors',
  ]);
});

test('a companion file that is gone is one clear error, and leaves nothing', () => {
  const folder = newFolder();
  const companionFiles = new Map([['tokenizer.json', join(root, 'gone.json')]]);
  assert.throws(
    () => saveModelFolder(folder, { config: CONFIG, tensors: TENSORS, companionFiles }),
    (error) => error instanceof TrainyardError && error.code === 'MODEL_UNREADABLE',
  );
  assert.deepEqual(readdirSync(folder), []);
});

test('folders that are not a model are refused', () => {
  refused(join(root, 'nowhere'), /no such file/, 'got');
  refused('/dev/null', /not a folder/, 'got');
  const folder = newFolder();
  mkdirSync(folder);
  refused(folder, /no configuration/);
  writeFileSync(join(folder, 'config.json'), '{}');
  refused(folder, /no weights/);
  writeFileSync(join(folder, 'pytorch_model.bin'), 'pickle');
  refused(folder, /never read/, 'cure');
});

test('a configuration that is not strict JSON is refused with line and column', () => {
  const folder = newFolder();
  saveModelFolder(folder, { config: CONFIG, tensors: [] });
  for (const [text, place, rule] of [
    ['{\n  "a": 1,\n  "a": 2\n}', /config\.json:3:6$/, /no key appears twice/],
    ['{\n  "a": NaN\n}', /config\.json:2:\d+$/, /a JSON value/],
    ['{"a": 1', /config\.json:1:\d+$/, /a comma or a closing brace/],
    ['[]', /config\.json:1:1$/, /an object/],
    ['{"a": "\\ud800"}', /config\.json:1:\d+$/, /surrogates/],
    [`{"a": ${'['.repeat(100_000)}`, /config\.json:1:\d+$/, /nest at most/],
  ] as const) {
    writeFileSync(join(folder, 'config.json'), text);
    refused(folder, place, 'where');
    refused(folder, rule, 'expected');
  }
});

const TRAVERSAL = [
  '../secret.safetensors',
  '/etc/passwd',
  '/tmp/secret.safetensors',
  'sub/secret.safetensors',
  './model-00001-of-00003.safetensors',
  '..\\secret.safetensors',
  'a\0.safetensors',
  'a\n.safetensors',
  '\uff0e\uff0e\u2215secret.safetensors',
  `${'a'.repeat(5000)}.safetensors`,
  '.safetensors/..',
  'secret.bin',
  '',
  '..',
  '~/secret.safetensors',
  'file:///secret.safetensors',
  'CON.safetensors ',
];

for (const name of TRAVERSAL) {
  test(`the index cannot name ${JSON.stringify(name).slice(0, 60)}`, () => {
    const folder = newFolder();
    saveModelFolder(folder, { config: CONFIG, tensors: TENSORS, maximumShardBytes: 8 });
    writeSafetensors(join(root, 'secret.safetensors'), [tensor('embed', 1)]);
    writeIndex(folder, { weight_map: { embed: name } });
    refused(folder, /not what it should be|not in the model folder/);
  });
}

function writeIndex(folder: string, index: unknown): void {
  writeFileSync(join(folder, 'model.safetensors.index.json'), JSON.stringify(index));
}

test('an index that does not agree with its files is refused', () => {
  const folder = newFolder();
  saveModelFolder(folder, { config: CONFIG, tensors: TENSORS, maximumShardBytes: 8 });
  const index = JSON.parse(readFileSync(join(folder, 'model.safetensors.index.json'), 'utf8'));
  const swapped = { ...index.weight_map, embed: 'model-00002-of-00003.safetensors' };
  writeIndex(folder, { ...index, weight_map: swapped });
  refused(folder, /does not hold/);
  writeIndex(folder, {
    ...index,
    weight_map: { ...index.weight_map, more: 'model-00001-of-00003.safetensors' },
  });
  refused(folder, /does not hold/);
  writeIndex(folder, { weight_map: {} });
  refused(folder, /at least one tensor/, 'expected');
  writeIndex(folder, { metadata: {} });
  refused(folder, /at least one tensor/, 'expected');
  writeIndex(folder, index);
  writeSafetensors(join(folder, 'model-00002-of-00003.safetensors'), [
    tensor('layers.0.weight', 6),
    tensor('embed', 8),
  ]);
  refused(folder, /Two files/);
  writeFileSync(join(folder, 'model-00002-of-00003.safetensors'), 'x');
  refused(folder, /model-00002/, 'where');
  rmSync(join(folder, 'model-00002-of-00003.safetensors'));
  refused(folder, /not in the model folder/);
});

test('links may stay in the folder or lead to the blobs of the cache, and nowhere else', () => {
  const repository = join(root, 'models--someone--small');
  const snapshot = join(repository, 'snapshots', 'abc');
  const source = newFolder();
  saveModelFolder(source, { config: CONFIG, tensors: TENSORS });
  mkdirSync(join(repository, 'blobs'), { recursive: true });
  mkdirSync(snapshot, { recursive: true });
  for (const name of ['config.json', 'model.safetensors']) {
    renameSync(join(source, name), join(repository, 'blobs', name));
    symlinkSync(`../../blobs/${name}`, join(snapshot, name));
  }
  assertHoldsTensors(snapshot, TENSORS);
  const thief = newFolder();
  mkdirSync(thief);
  symlinkSync(join(repository, 'blobs', 'config.json'), join(thief, 'config.json'));
  refused(thief, /leads out of it/);
  rmSync(join(thief, 'config.json'));
  writeFileSync(join(thief, 'config.json'), '{}');
  symlinkSync('/dev/zero', join(thief, 'model.safetensors'));
  refused(thief, /leads out of it/);
});

test('a tensor that is not there is refused with the nearest names', () => {
  const folder = newFolder();
  saveModelFolder(folder, { config: CONFIG, tensors: TENSORS });
  assert.throws(() => openModelFolder(folder).read('layers.0.wieght'), /"layers\.0\.weight"/);
});

const wanted = (name: string, size: number, tiedTo?: string) => ({
  name,
  shape: [size],
  storedNames: [`model.${name}`, name],
  ...(tiedTo === undefined ? {} : { tiedTo }),
});

const matching = (tensors: readonly TensorSource[], parameters: readonly ReturnType<typeof wanted>[]) => {
  const folder = newFolder();
  saveModelFolder(folder, { config: CONFIG, tensors });
  return Object.fromEntries(matchTensors(openModelFolder(folder), parameters, (name) => name === 'mask'));
};

test('parameters find their tensors under any of their names, and tied ones in each other', () => {
  assert.deepEqual(
    matching([tensor('model.a', 1), tensor('b', 2), tensor('mask', 9)], [wanted('a', 1), wanted('b', 2)]),
    {
      a: 'model.a',
      b: 'b',
    },
  );
  const tied = [wanted('embed', 2), wanted('head', 2, 'embed')];
  assert.deepEqual(matching([tensor('embed', 2)], tied), { embed: 'embed', head: 'embed' });
  assert.deepEqual(matching([tensor('head', 2)], tied), { embed: 'head', head: 'head' });
  assert.deepEqual(matching([tensor('embed', 2), tensor('head', 2)], tied), { embed: 'embed', head: 'head' });
});

test('what does not fit is said at once, with the nearest names', () => {
  assert.throws(
    () =>
      matching(
        [tensor('layers.0.weigth', 2), tensor('b', 3)],
        [wanted('layers.0.weight', 2), wanted('b', 2)],
      ),
    (error) => {
      assert.ok(error instanceof TrainyardError && error.code === 'MODEL_UNREADABLE');
      assert.match(error.message, /lacks "layers\.0\.weight" \(the nearest: "layers\.0\.weigth"\)/);
      assert.match(error.message, /holds "layers\.0\.weigth"/);
      assert.match(error.message, /has "b" as \[3\], not \[2\]/);
      return true;
    },
  );
  const many = Array.from({ length: 50 }, (_, index) => tensor(`x${index}`, 1));
  assert.throws(() => matching(many, []), /and 42 more such/);
});

test('tied weights that are stored with different values are refused', () => {
  const tied = [wanted('embed', 2), wanted('head', 2, 'embed')];
  assert.throws(() => matching([tensor('embed', 2), tensor('head', 2, 5)], tied), /tie_word_embeddings/);
});
