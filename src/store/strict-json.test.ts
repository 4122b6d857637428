import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { StrictJsonReader } from './strict-json.js';

class Refused extends Error {}

/** A reader over `text` that gets it in pieces of `piece` bytes. */
function reader(text: string, piece = 7, keepBytes = 1_000_000): StrictJsonReader {
  const content = Buffer.from(text);
  let position = 0;
  return new StrictJsonReader(
    (window) => {
      const part = content.subarray(position, position + Math.min(piece, window.length));
      window.set(part);
      position += part.byteLength;
      return part.byteLength;
    },
    keepBytes,
    (rule, got) => {
      throw new Refused(`${rule}; ${got}`);
    },
  );
}

test('strings are what JSON.parse makes of them', () => {
  const escaped = fc
    .array(
      fc.oneof(
        fc.string({ unit: 'binary', maxLength: 5 }).map((text) => JSON.stringify(text).slice(1, -1)),
        fc.constantFrom(
          '\\u0041',
          '\\u00e9',
          '\\u20ac',
          '\\ud83d\\ude82',
          '\\/',
          '\\b',
          '\\f',
          '\\\\',
          '\\"',
        ),
      ),
    )
    .map((parts) => `"${parts.join('')}"`);
  fc.assert(
    fc.property(escaped, fc.integer({ min: 1, max: 9 }), (text, piece) => {
      assert.equal(reader(text, piece).readString(), JSON.parse(text));
    }),
  );
});

test('any JSON without repeated keys is read past, to its end', () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), fc.integer({ min: 1, max: 9 }), (text, piece) => {
      const json = reader(` ${text}\n`, piece);
      json.skipWhitespace();
      json.skipValue();
      json.readEnd();
    }),
  );
});

test('what JSON.parse refuses is refused', () => {
  fc.assert(
    fc.property(
      fc.json({ maxDepth: 2 }),
      fc.nat(),
      fc.constantFrom(...'{}[]:,"0-.e\\x '),
      (text, at, letter) => {
        const place = at % (text.length + 1);
        const mutated = text.slice(0, place) + letter + text.slice(place);
        if (isJson(mutated)) return;
        assert.throws(() => {
          const json = reader(mutated);
          json.skipWhitespace();
          json.skipValue();
          json.readEnd();
        }, Refused);
      },
    ),
    { numRuns: 2000 },
  );
});

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

test('whole numbers up to 2^53 - 1, and no other', () => {
  for (const text of ['0', '7', '9007199254740991']) assert.equal(reader(text).readUnsigned(), Number(text));
  for (const text of ['', '-1', '+1', '00', '1.0', '1e2', '9007199254740992', '9'.repeat(400), 'x']) {
    assert.throws(() => reader(text).readUnsigned(), Refused, text);
  }
});

test('values that nest too deep are refused', () => {
  assert.throws(() => reader('['.repeat(100_000)).skipValue(), /nest at most/);
});

test('what is kept is bounded', () => {
  const many = JSON.stringify(Array.from({ length: 1000 }, (_, index) => `text ${index}`));
  assert.throws(() => reader(many, 4096, 10_000).skipValue(), /must remember stays below 10000 bytes/);
});
