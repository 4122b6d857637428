import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../../base/errors.js';
import { readDocuments } from './read-documents.js';
import { readLines } from './read-lines.js';
import { decodeUtf8 } from './utf8.js';

const FIXTURES = join(import.meta.dirname, '../../../../test/fixtures/data');

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-read-'));
});
after(() => rmSync(root, { recursive: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(root, name);
  writeFileSync(path, content);
  return path;
}

/** The documents of a file, each in one line of text. */
async function read(path: string, textField = 'text'): Promise<string[]> {
  const seen: string[] = [];
  for await (const document of readDocuments([path], textField)) {
    const { kind } = document;
    if (kind === 'text') seen.push([...document.pieces].join(''));
    else seen.push(JSON.stringify(kind === 'messages' ? document.messages : document.ids));
  }
  return seen;
}

async function refusal(path: string, textField = 'text'): Promise<TrainyardError> {
  try {
    await read(path, textField);
  } catch (error) {
    assert.ok(error instanceof TrainyardError, String(error));
    return error;
  }
  assert.fail('the file was accepted');
}

describe('text files', () => {
  it('are one document, without a byte order mark', async () => {
    assert.deepEqual(await read(write('bom.txt', '\uFEFFone\r\ntwo\n')), ['one\r\ntwo\n']);
  });
  it('keep their characters across blocks of reading', async () => {
    const text = `x${'é中🙂'.repeat(400_000)}`;
    assert.deepEqual(await read(write('long.txt', text)), [text]);
  });
  it('that are not UTF-8 are refused with line, column and offset', async () => {
    const bytes = Buffer.concat([Buffer.from('first\nsec'), Uint8Array.of(0xe9), Buffer.from('nd\n')]);
    const error = await refusal(write('latin1.txt', bytes));
    assert.equal(error.code, 'DATA_INVALID');
    assert.equal(error.report.where, `${join(root, 'latin1.txt')}:2:5 (byte 10 of the file)`);
  });
  it('that end inside a character are refused', async () => {
    const error = await refusal(write('cut.txt', Buffer.from('abc🙂').subarray(0, 5)));
    assert.match(error.report.got ?? '', /incomplete character/);
  });
});

describe('decodeUtf8', () => {
  it('keeps a byte order mark, which only the beginning of a file may lose', () => {
    assert.equal(decodeUtf8(Buffer.from('\uFEFFa'), String), '\uFEFFa');
  });
  it('takes what is UTF-8, and finds the byte at which it ends', () => {
    const telling = fc.array(
      fc.constantFrom(0x41, 0x80, 0xbf, 0xc1, 0xc3, 0xe0, 0xa0, 0xed, 0x9f, 0xf0, 0x90, 0xf4, 0x8f),
    );
    const beginsUtf8 = (bytes: Uint8Array): boolean => {
      try {
        new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
        return true;
      } catch {
        return false;
      }
    };
    fc.assert(
      fc.property(fc.oneof(telling, fc.array(fc.integer({ min: 0, max: 255 }))), (values) => {
        const bytes = Uint8Array.from(values);
        try {
          assert.equal(decodeUtf8(bytes, String), Buffer.from(bytes).toString('utf8'));
        } catch (error) {
          assert.ok(error instanceof TrainyardError, String(error));
          const offset = Number(error.report.where);
          assert.ok(beginsUtf8(bytes.subarray(0, offset)));
          assert.ok(offset === bytes.length || !beginsUtf8(bytes.subarray(0, offset + 1)));
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('.jsonl files', () => {
  it('hold text, messages or ids, blank lines aside', async () => {
    const lines = [
      '{"text": "a"}',
      '',
      '  ',
      '{"messages": [{"role": "user", "content": "hi"}]}',
      '{"input_ids": [1, 2]}',
    ];
    assert.deepEqual(await read(write('all.jsonl', `\uFEFF${lines.join('\r\n')}`)), [
      'a',
      '[{"role":"user","content":"hi"}]',
      '[1,2]',
    ]);
  });
  it('may hold the text under another name', async () => {
    assert.deepEqual(await read(write('named.jsonl', '{"content": "a"}\n'), 'content'), ['a']);
  });

  const malformed: readonly (readonly [name: string, line: string, got: RegExp])[] = [
    ['broken JSON', '{"text": ', /JSON/],
    ['a list', '["text"]', /a list/],
    ['no known key', '{"body": "x"}', /body/],
    ['text that is a number', '{"text": 5}', /5 \(number\)/],
    ['half a surrogate pair', '{"text": "\\ud800"}', /surrogate/],
    ['ids that are text', '{"input_ids": "1 2"}', /string/],
    ['a fractional id', '{"input_ids": [1, 2.5]}', /2\.5 \(number\) at position 1/],
    ['a negative id', '{"input_ids": [1, -2]}', /-2/],
    ['an id past 31 bits', '{"input_ids": [1, 2147483648]}', /2147483648/],
    ['a single id', '{"input_ids": [1]}', /^1$/],
    ['messages without roles', '{"messages": [{"content": "x"}]}', /object/],
    ['no messages', '{"messages": []}', /empty list/],
    ['__proto__ as the text', '{"__proto__": {"text": "x"}}', /__proto__/],
  ];
  for (const [name, line, got] of malformed) {
    it(`are refused by line for ${name}`, async () => {
      const path = write('malformed.jsonl', `{"text": "fine", "input_ids": null}\n\n${line}\n`);
      const error = await refusal(path);
      assert.equal(error.code, 'DATA_INVALID');
      assert.equal(error.report.where, `${path}:3`);
      assert.match(error.report.got ?? '', got);
    });
  }

  it('are refused by byte where they are not UTF-8', async () => {
    const path = write(
      'latin1.jsonl',
      Buffer.concat([Buffer.from('{"text": "a"}\n{"text": "'), Uint8Array.of(0xff)]),
    );
    assert.equal((await refusal(path)).report.where, `${path}:2:11 (byte 24 of the file)`);
  });
  it('are refused by byte far into a file of many blocks', async () => {
    const fine = `{"text": "${'x'.repeat(1_500_000)}"}\n`;
    const path = write('far.jsonl', Buffer.concat([Buffer.from(fine + fine), Uint8Array.of(0xff)]));
    assert.equal((await refusal(path)).report.where, `${path}:3:1 (byte ${2 * fine.length} of the file)`);
  });
  it('are refused for an endless line before it fills the memory', async () => {
    const path = write('endless.jsonl', Buffer.alloc(16 * 1024 * 1024 + 2, 'a'));
    assert.match((await refusal(path)).report.expected ?? '', /bytes a line/);
  });
});

describe('readLines', () => {
  it('gives the lines that split would, wherever the blocks end', () => {
    const line = fc
      .string({ unit: 'grapheme', maxLength: 30 })
      .map((text) => text.replace(/[\n\r\uFEFF]/g, '.'));
    fc.assert(
      fc.property(fc.array(line), fc.nat({ max: 3 }), (lines, filler) => {
        const all = [`${'é'.repeat((1 << 19) - filler)}`, ...lines];
        const path = write('lines.txt', all.join('\n'));
        const expected = all.flatMap((text, index) =>
          text.trim() === '' ? [] : [{ text, number: index + 1 }],
        );
        assert.deepEqual([...readLines(path)], expected);
      }),
      { numRuns: 30 },
    );
  });
});

describe('.parquet files', () => {
  it('hold text (snappy, several row groups), ids (gzip) and messages (zstd)', async () => {
    const texts = await read(join(FIXTURES, 'text.parquet'));
    assert.deepEqual(
      texts,
      Array.from({ length: 7 }, (_, index) => `Document ${index}: naïve 中文.`),
    );
    assert.equal((await read(join(FIXTURES, 'input-ids.parquet')))[4], '[4,5,6,70000]');
    const [first] = await read(join(FIXTURES, 'messages.parquet'));
    assert.equal(first, '[{"role":"user","content":"What is 0?"},{"role":"assistant","content":"0."}]');
  });
  it('without a usable column are refused', async () => {
    const error = await refusal(join(FIXTURES, 'text.parquet'), 'body');
    assert.match(error.report.got ?? '', /columns id, text/);
  });
  it('that are something else are refused', async () => {
    const path = write('fake.parquet', 'PAR1 not at all PAR1');
    assert.equal((await refusal(path)).code, 'DATA_INVALID');
  });
});
