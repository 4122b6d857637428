import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { sampleToken, uniformNumbers } from './sample-token.js';

const logitsOf = fc.array(fc.float({ min: -50, max: 50, noNaN: true }), { minLength: 1, maxLength: 40 });

test('temperature 0 takes the likeliest token', () => {
  fc.assert(
    fc.property(logitsOf, (values) => {
      const logits = Float32Array.from(values);
      const token = sampleToken(logits, 0, () => 0.5);
      assert.equal(logits[token], Math.max(...logits));
    }),
  );
});

test('a token is always one of the vocabulary, whatever is drawn', () => {
  fc.assert(
    fc.property(logitsOf, fc.double({ min: 0, max: 0.999999999, noNaN: true }), (values, drawn) => {
      const token = sampleToken(Float32Array.from(values), 0.8, () => drawn);
      assert.ok(Number.isInteger(token) && token >= 0 && token < values.length);
    }),
  );
});

test('tokens are drawn as often as their probabilities say', () => {
  const logits = Float32Array.from([Math.log(1), Math.log(2), Math.log(5)]);
  const random = uniformNumbers(3);
  const counts = [0, 0, 0];
  for (let draw = 0; draw < 8000; draw += 1) {
    const token = sampleToken(logits, 1, random);
    counts[token] = (counts[token] ?? 0) + 1;
  }
  assert.deepEqual(
    counts.map((count) => Math.round(count / 1000)),
    [1, 2, 5],
  );
});

test('the same seed draws the same numbers', () => {
  const [first, second] = [uniformNumbers(9), uniformNumbers(9)];
  assert.deepEqual(
    Array.from({ length: 5 }, () => first()),
    Array.from({ length: 5 }, () => second()),
  );
});
