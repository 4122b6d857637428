import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { readDocuments } from '../source/read-documents.js';
import { BYTE_CHARACTERS } from './byte-alphabet.js';
import { countWords } from './count-words.js';
import { trainByteLevelBpe } from './train-byte-level-bpe.js';

const FIXTURES = join(import.meta.dirname, '../../../../test/fixtures/data');

interface Trained {
  readonly vocab_size: number;
  readonly min_frequency: number;
  readonly merges: readonly (readonly [string, string])[];
}

describe('training', () => {
  const expected = JSON.parse(readFileSync(join(FIXTURES, 'trained-merges.json'), 'utf8')) as Record<
    string,
    Trained
  >;
  for (const [name, trained] of Object.entries(expected)) {
    it(`learns what Hugging Face’s trainer learns, merge for merge (${name})`, async () => {
      const words = await countWords(readDocuments([join(FIXTURES, 'excerpt.txt')], 'text'));
      const learnt = trainByteLevelBpe(words, {
        vocabularySize: trained.vocab_size,
        minimumFrequency: trained.min_frequency,
        specialTokens: ['<|endoftext|>'],
      });
      assert.deepEqual(learnt.merges, trained.merges);
      assert.equal(learnt.vocabulary[0], '<|endoftext|>');
      assert.equal(learnt.endToken, '<|endoftext|>');
    });
  }

  it('keeps the counts that counting anew would give', () => {
    const word = fc.stringMatching(/^[ab]{1,12}$/);
    fc.assert(
      fc.property(
        fc.uniqueArray(word, { minLength: 1, maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 5 })),
        (texts, counts) => {
          const words = new Map(texts.map((text, index) => [text, counts[index] ?? 1]));
          const { merges, vocabulary } = trainByteLevelBpe(words, { vocabularySize: 262, specialTokens: [] });
          assert.deepEqual(merges, learnSlowly(words, vocabulary, 262 - 256));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('holds every byte, and stops when nothing is left to merge', () => {
    const { vocabulary, merges } = trainByteLevelBpe(new Map([['abab', 2]]), {
      vocabularySize: 1000,
      specialTokens: ['<s>', '</s>'],
    });
    assert.deepEqual(vocabulary.slice(0, 2), ['<s>', '</s>']);
    assert.deepEqual(new Set(vocabulary.slice(2, 258)), new Set(BYTE_CHARACTERS));
    assert.deepEqual(merges, [
      ['a', 'b'],
      ['ab', 'ab'],
    ]);
  });

  it('refuses a vocabulary smaller than the alphabet', () => {
    assert.throws(() => trainByteLevelBpe(new Map(), { vocabularySize: 256, specialTokens: ['<s>'] }), {
      code: 'USAGE',
    });
  });
});

/** The definition: count all pairs, merge the most frequent (the smaller ids among equals), and again. */
function learnSlowly(
  words: ReadonlyMap<string, number>,
  vocabulary: readonly string[],
  rounds: number,
): [string, string][] {
  const idOf = new Map(vocabulary.map((entry, id) => [entry, id]));
  let split = [...words].map(([word, count]) => ({ symbols: [...word], count }));
  const merges: [string, string][] = [];
  while (merges.length < rounds) {
    const counts = new Map<string, number>();
    for (const { symbols, count } of split) {
      for (let at = 0; at + 1 < symbols.length; at++) {
        const key = `${symbols[at]} ${symbols[at + 1]}`;
        counts.set(key, (counts.get(key) ?? 0) + count);
      }
    }
    const order = (key: string): number[] => [
      -(counts.get(key) ?? 0),
      ...key.split(' ').map((entry) => idOf.get(entry) ?? 0),
    ];
    const [best] = [...counts.keys()].sort((first, second) => {
      const [a, b] = [order(first), order(second)];
      const place = a.findIndex((value, index) => value !== b[index]);
      return (a[place] ?? 0) - (b[place] ?? 0);
    });
    if (best === undefined) break;
    const [left = '', right = ''] = best.split(' ');
    merges.push([left, right]);
    split = split.map(({ symbols, count }) => ({ symbols: mergePair(symbols, left, right), count }));
  }
  return merges;
}

function mergePair(symbols: readonly string[], left: string, right: string): string[] {
  const merged: string[] = [];
  for (let at = 0; at < symbols.length; at++) {
    if (symbols[at] === left && symbols[at + 1] === right) {
      merged.push(left + right);
      at++;
    } else merged.push(symbols[at] ?? '');
  }
  return merged;
}
