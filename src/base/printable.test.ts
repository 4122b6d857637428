import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { printable, quote } from './printable.js';

test('ordinary text stays as it is', () => {
  for (const text of ['model.layers.0.weight', 'größe/моделі 模型 🚂', ''])
    assert.equal(printable(text), text);
});

test('nothing that steers a terminal or forges a line comes through', () => {
  assert.equal(printable('a\u001b[31mb\r\nc\u009bd\u202ee'), 'a\\u001b[31mb\\u000d\\u000ac\\u009bd\\u202ee');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.doesNotMatch(printable(text), /\p{Cc}|\p{Zl}|\p{Zp}|\p{Cs}/u);
    }),
  );
});

test('long text is cut in its middle', () => {
  assert.equal(quote('x'.repeat(10), 10), `"${'x'.repeat(10)}"`);
  assert.equal(quote(`start${'x'.repeat(500)}end`, 10), '"start…xxend"');
});
