import assert from 'node:assert/strict';
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, describe, it } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { dataSchema } from './config.js';
import { listDemoCorpus } from './demo-corpus.js';
import { type OpenedDataset, openDataset } from './open-dataset.js';
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
  context: { vocabularySize?: number; modelDirectory?: string; maximumSequenceLength?: number } = {},
): Promise<OpenedDataset> {
  return openDataset(dataSchema.parse(data), {
    baseDirectory: root,
    cacheDirectory: join(root, 'cache'),
    modelDirectory: context.modelDirectory,
    vocabularySize: context.vocabularySize ?? 100_000,
    defaultSequenceLength: 16,
    maximumSequenceLength: context.maximumSequenceLength,
    seed: 1,
  });
}

function put(name: string, text: string): string {
  writeFileSync(join(root, name), text);
  return name;
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

  it('cuts ready ids only where it is told to, or the model takes no more, which it says', async () => {
    const ids = Array.from({ length: 41 }, (_, index) => index);
    put('long.jsonl', `{"input_ids": [1, 2, 3]}\n${JSON.stringify({ input_ids: ids })}\n`);
    const lengthAndWarnings = async (data: object, maximumSequenceLength?: number) => {
      const context = maximumSequenceLength === undefined ? {} : { maximumSequenceLength };
      const { dataset, warnings } = await open({ path: 'long.jsonl', ...data }, context);
      return [dataset.sequenceLength, ...warnings];
    };
    assert.deepEqual(await lengthAndWarnings({}), [41]);
    assert.deepEqual(await lengthAndWarnings({}, 100), [41]);
    assert.deepEqual(await lengthAndWarnings({}, 40), [40]);
    const cut =
      '1 of 2 documents are longer than 32 tokens, and are cut there: data.sequence_length says where';
    assert.deepEqual(await lengthAndWarnings({}, 32), [32, cut]);
    assert.deepEqual(await lengthAndWarnings({ sequence_length: 8 }, 32), [8]);
    assert.deepEqual(await lengthAndWarnings({ pack: true }, 32), [16]);
  });

  it('says that documents of text which are not packed are cut', async () => {
    put('a.jsonl', JSON.stringify({ text: 'x'.repeat(50) }));
    const opened = await open({ path: 'a.jsonl', tokenizer: 'bytes', pack: false });
    assert.equal(opened.dataset.sequenceLength, 16);
    assert.match(opened.warnings.join(), /^1 of 1 documents are longer than 16 tokens/);
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
