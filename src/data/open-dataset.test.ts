import assert from 'node:assert/strict';
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { dataSchema } from './config.js';
import { listDemoCorpus } from './demo-corpus.js';
import { defaultCacheDirectory, type OpenedDataset, openDataset } from './open-dataset.js';
import { loadTokenizer } from './tokenizer/load-tokenizer.js';
import { tokenizerFiles } from './tokenizer/tokenizer-files.js';
import { DEFAULT_SPECIAL_TOKENS, trainTokenizer, writeTokenizerFiles } from './train-tokenizer.js';

const FIXTURES = join(import.meta.dirname, '../../../test/fixtures/data');
const TOKENIZERS = join(FIXTURES, 'tokenizers');

const roots: string[] = [];
let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-data-'));
  roots.push(root);
});
after(() => {
  for (const path of roots) rmSync(path, { recursive: true });
});

function open(
  data: Readonly<Record<string, unknown>>,
  context: { vocabularySize?: number; modelDirectory?: string } = {},
): Promise<OpenedDataset> {
  return openDataset(dataSchema.parse(data), {
    baseDirectory: root,
    cacheDirectory: defaultCacheDirectory(root),
    modelDirectory: context.modelDirectory,
    vocabularySize: context.vocabularySize ?? 100_000,
    defaultSequenceLength: 16,
    seed: 1,
  });
}

function put(name: string, text: string): string {
  writeFileSync(join(root, name), text);
  return name;
}

function cacheFiles(): string[] {
  return readdirSync(defaultCacheDirectory(root)).sort();
}

/** The ids of the first sequences, in the order a single rank meets them. */
function firstRows(opened: OpenedDataset, rows: number): number[][] {
  const source = opened.batches({
    rank: 0,
    worldSize: 1,
    microBatchSize: rows,
    gradientAccumulationSteps: 1,
  });
  const { inputIds, length } = source.microBatch(0, 0);
  return Array.from({ length: rows }, (_, row) =>
    [...inputIds.slice(row * length, (row + 1) * length)].map(Number),
  );
}

describe('openDataset', () => {
  it('packs text, ended by the end id, and shuffles it', async () => {
    put('a.txt', 'abc');
    put('b.txt', 'defgh');
    const opened = await open({ path: '*.txt', tokenizer: 'bytes', sequence_length: 4 });
    assert.equal(Buffer.from(opened.store.ids).toString('latin1'), 'abc\0defgh\0');
    assert.equal(opened.store.ids.BYTES_PER_ELEMENT, 2);
    assert.deepEqual([...opened.store.documentEnds], [4, 10]);
    assert.deepEqual(new Set(firstRows(opened, 2).map(String)), new Set(['97,98,99,0', '100,101,102,103']));
  });

  it('takes ready ids as they are: in order, one line a sequence, without a tokenizer', async () => {
    put('a.jsonl', '{"input_ids": [1, 2, 3]}\n{"input_ids": [70000, 5]}\n');
    const opened = await open({ path: 'a.jsonl' });
    assert.equal(opened.tokenizer, undefined);
    assert.deepEqual(firstRows(opened, 3), [
      [1, 2, 3],
      [70000, 5, 0],
      [1, 2, 3],
    ]);
    const packed = await open({ path: 'a.jsonl', pack: true, sequence_length: 2 });
    assert.deepEqual(firstRows(packed, 2), [
      [1, 2],
      [3, 70000],
    ]);
  });

  it('renders messages by the chat template and adds nothing to it', async () => {
    mkdirSync(join(root, 'model'));
    copyFileSync(join(TOKENIZERS, 'qwen2/tokenizer.json'), join(root, 'model/tokenizer.json'));
    writeFileSync(
      join(root, 'model/chat_template.jinja'),
      '{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}',
    );
    copyFileSync(join(FIXTURES, 'messages.parquet'), join(root, 'messages.parquet'));
    const opened = await open(
      { path: 'messages.parquet', pack: false, shuffle: false },
      { modelDirectory: join(root, 'model') },
    );
    const end = opened.store.documentEnds[0];
    assert.equal(
      opened.tokenizer?.decode(opened.store.ids.subarray(0, end), { keepSpecialTokens: true }),
      '<|im_start|>user\nWhat is 0?<|im_end|>\n<|im_start|>assistant\n0.<|im_end|>\n',
    );
  });

  const refusals: readonly (readonly [
    name: string,
    code: string,
    data: object,
    text: string,
    vocabulary?: number,
  ])[] = [
    [
      'a tokenizer too large for the model',
      'TOKENIZER_INVALID',
      { tokenizer: 'bytes' },
      '{"text": "abc"}',
      200,
    ],
    [
      'an id too large for the model',
      'DATA_INVALID',
      {},
      '{"input_ids": [1, 2]}\n{"input_ids": [3, 900]}',
      512,
    ],
    ['text without a tokenizer', 'TOKENIZER_INVALID', {}, '{"text": "abc"}'],
    [
      'messages without a template',
      'TOKENIZER_INVALID',
      { tokenizer: 'bytes' },
      '{"messages": [{"role": "user", "content": "x"}]}',
    ],
    ['ids mixed with text', 'DATA_INVALID', { tokenizer: 'bytes' }, '{"text": "abc"}\n{"input_ids": [1, 2]}'],
    [
      'text shorter than a sequence',
      'DATA_INVALID',
      { tokenizer: 'bytes', sequence_length: 9 },
      '{"text": "abc"}',
    ],
    ['nothing but empty documents', 'DATA_INVALID', { tokenizer: 'bytes' }, '{"text": ""}\n'],
  ];
  for (const [name, code, data, text, vocabularySize] of refusals) {
    it(`refuses ${name}`, async () => {
      put('a.jsonl', text);
      await assert.rejects(
        open({ path: 'a.jsonl', ...data }, vocabularySize === undefined ? {} : { vocabularySize }),
        { code },
      );
    });
  }
  it('names the line of an id too large for the model', async () => {
    put('a.jsonl', '{"input_ids": [1, 2]}\n{"input_ids": [3, 900]}\n{"input_ids": [3, 4]}');
    await assert.rejects(open({ path: 'a.jsonl' }, { vocabularySize: 512 }), (error) => {
      assert.ok(error instanceof TrainyardError);
      return error.report.where === `${join(root, 'a.jsonl')}:2` && error.report.got === '900';
    });
  });
});

describe('the token cache', () => {
  const data = { path: 'a.txt', tokenizer: 'bytes', sequence_length: 4 };

  it('is made once for the same contents, wherever they lie, and anew for others', async () => {
    put('a.txt', 'some text to cache');
    await open(data);
    const [bin = '', json = ''] = cacheFiles();
    assert.match(bin, /^[0-9a-f]{32}\.bin$/);
    assert.equal(json, bin.replace('.bin', '.json'));
    const made = statSync(join(defaultCacheDirectory(root), bin)).ino;
    put('b.txt', 'some text to cache');
    await open({ ...data, path: 'b.txt', sequence_length: 3 });
    assert.deepEqual(cacheFiles(), [bin, json]);
    assert.equal(statSync(join(defaultCacheDirectory(root), bin)).ino, made);
    put('a.txt', 'some text to Cache');
    await open(data);
    assert.equal(cacheFiles().length, 4);
  });

  it('is made again when a byte of it changed, it was cut, or its description is gone', async () => {
    put('a.txt', 'some text to cache');
    const expected = [...(await open(data)).store.ids];
    const [bin, json] = cacheFiles().map((name) => join(defaultCacheDirectory(root), name));
    assert.ok(bin !== undefined && json !== undefined);
    const damages: readonly (() => void)[] = [
      () => {
        const bytes = readFileSync(bin);
        bytes[7] = (bytes[7] ?? 0) ^ 4;
        replace(bin, bytes);
      },
      () => replace(bin, readFileSync(bin).subarray(0, 9)),
      () => rmSync(bin),
      () => rmSync(json),
      () => replace(json, Buffer.from('{')),
      () => replace(json, Buffer.from(readFileSync(json, 'utf8').replace('"tokens": 19', '"tokens": 18'))),
    ];
    for (const damage of damages) {
      damage();
      assert.deepEqual([...(await open(data)).store.ids], expected);
      assert.equal(cacheFiles().length, 2);
    }
  });

  it('serves several who ask at once', async () => {
    put('a.txt', 'some text to cache '.repeat(1000));
    const all = await Promise.all(Array.from({ length: 8 }, () => open(data)));
    for (const { store } of all) assert.equal(store.ids.length, 19_001);
    assert.equal(cacheFiles().length, 2);
  });

  it('is taken over from a builder that died', async () => {
    put('a.txt', 'some text to cache');
    await open(data);
    const [bin = '', json = ''] = cacheFiles();
    const lock = join(defaultCacheDirectory(root), bin.replace('.bin', '.lock'));
    rmSync(join(defaultCacheDirectory(root), json));
    // No process has this id: it is past the largest that Linux gives.
    writeFileSync(lock, `4194305 ${hostname()}`);
    const past = new Date(Date.now() - 10_000);
    utimesSync(lock, past, past);
    assert.equal((await open(data)).store.ids.length, 19);
    assert.deepEqual(cacheFiles(), [bin, json]);
  });

  it('leaves nothing behind when reading fails', async () => {
    put('a.jsonl', '{"text": "fine"}\n{"text": 5}\n');
    await assert.rejects(open({ ...data, path: 'a.jsonl' }), { code: 'DATA_INVALID' });
    assert.deepEqual(cacheFiles(), []);
  });
});

/** Writes a new file in the place of one that may be mapped. */
function replace(path: string, bytes: Uint8Array): void {
  const copy = Uint8Array.from(bytes);
  rmSync(path);
  writeFileSync(path, copy);
}

describe('the demo corpus', () => {
  it('is several megabytes of declarations, in a fixed order', () => {
    const files = listDemoCorpus();
    assert.ok(files.length > 50);
    assert.deepEqual([...files].sort(), files);
    assert.ok(files.reduce((bytes, file) => bytes + statSync(file).size, 0) > 2_000_000);
  });
});

describe('trainTokenizer', () => {
  it('writes a folder from which the same vocabulary is loaded, and which restores every text', async () => {
    const trained = await trainTokenizer({
      paths: [join(FIXTURES, 'excerpt.txt')],
      baseDirectory: root,
      textField: 'text',
      vocabularySize: 600,
      specialTokens: DEFAULT_SPECIAL_TOKENS,
    });
    writeTokenizerFiles(tokenizerFiles(trained), join(root, 'made'));
    const tokenizer = loadTokenizer('made', root);
    assert.equal(tokenizer.vocabularySize, 600);
    assert.deepEqual(tokenizer.special, { end: 0, padding: 0 });
    const text = readFileSync(join(FIXTURES, 'excerpt.txt'), 'utf8');
    const ids = tokenizer.encode(text);
    assert.equal(tokenizer.decode(ids), text);
    assert.ok(ids.length < text.length / 2);
    assert.deepEqual(
      [...tokenizer.encode('a<|endoftext|>b')].filter((id) => id === 0),
      [0],
    );
  });
});
