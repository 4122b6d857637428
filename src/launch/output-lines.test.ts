import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { OutputLines, withoutControls } from './output-lines.js';

function linesOf(...chunks: readonly (string | Buffer)[]): readonly string[] {
  const lines = new OutputLines();
  return [...chunks.flatMap((chunk) => lines.push(Buffer.from(chunk))), ...lines.end()];
}

test('lines come whole, however the bytes are cut', () => {
  const text = 'one\ntwo größe 🚂\n\nlast without newline';
  fc.assert(
    fc.property(fc.array(fc.nat(Buffer.byteLength(text)), { maxLength: 8 }), (cuts) => {
      const places = [0, ...[...cuts].sort((left, right) => left - right), Buffer.byteLength(text)];
      const bytes = Buffer.from(text);
      const chunks = places.slice(1).map((end, index) => bytes.subarray(places[index], end));
      assert.deepEqual(linesOf(...chunks), text.split('\n'));
    }),
  );
});

test('escape sequences and control characters are gone', () => {
  assert.deepEqual(
    linesOf('\u001b[1;31mred\u001b[0m \u001b]0;title\u0007text\u001b(B\u0000\u0008\u009b2J!\n'),
    ['red text!'],
  );
  assert.equal(withoutControls('tab\tstays'), 'tab\tstays');
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      for (const line of linesOf(Buffer.from(bytes))) assert.doesNotMatch(line, /[^\P{Cc}\t]/u);
    }),
  );
});

test('a line that is drawn over with carriage returns is shown in its last state', () => {
  assert.deepEqual(linesOf('10 %\r50 %\r100 %\r\nnext\r\n'), ['100 %', 'next']);
});

test('an endless line is cut, and nothing of it is lost', () => {
  const lines = linesOf('x'.repeat(3000), 'x'.repeat(3000), 'x'.repeat(4000));
  assert.equal(lines.join('').length, 10_000);
  assert.ok(lines.every((line) => line.length <= 4096));
});
