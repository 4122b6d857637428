import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { loadTokenizer } from '../tokenizer/load-tokenizer.js';
import { splitText } from './split-text.js';

const TOKENIZERS = join(import.meta.dirname, '../../../../test/fixtures/data/tokenizers');

describe('splitText', () => {
  const fragment = fc.constantFrom(
    ' ',
    '  ',
    '\n',
    '\n\n',
    '\r\n',
    '\t',
    'the',
    'café',
    '中文',
    '。',
    '12345',
    "'s",
    '();',
    '🙂',
  );
  // Whole words in between, so that a neutral cut is always near.
  const text = fc
    .array(fragment, { maxLength: 200 })
    .map((parts) => parts.map((part) => `${part} word`).join(''));

  for (const name of ['gpt2', 'llama3', 'qwen2']) {
    it(`changes no id of ${name}`, () => {
      const tokenizer = loadTokenizer(name, TOKENIZERS);
      fc.assert(
        fc.property(text, fc.integer({ min: 20, max: 60 }), (whole, length) => {
          const pieces = [...splitText([whole], length)];
          assert.equal(pieces.join(''), whole);
          assert.deepEqual(
            pieces.flatMap((piece) => [...tokenizer.encode(piece)]),
            [...tokenizer.encode(whole)],
          );
        }),
        { numRuns: 300 },
      );
    });
  }

  it('does not depend on how the text comes in', () => {
    fc.assert(
      fc.property(text, fc.integer({ min: 1, max: 100 }), (whole, size) => {
        const blocks = Array.from({ length: Math.ceil(whole.length / size) }, (_, at) =>
          whole.slice(at * size, (at + 1) * size),
        );
        assert.equal([...splitText(blocks, 50)].join(''), whole);
      }),
    );
  });

  it('bounds the pieces of text without any place to cut, between characters', () => {
    const pieces = [...splitText(['🙂'.repeat(10_000)], 100)];
    assert.ok(pieces.length > 10);
    assert.ok(pieces.every((piece) => piece.length <= 500 && !/\p{Surrogate}/u.test(piece)));
  });
});
