import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Fingerprint, FingerprintMarks } from './fingerprint-marks.js';

function marksOf(fingerprints: readonly Fingerprint[]): FingerprintMarks {
  const marks = new FingerprintMarks();
  for (const fingerprint of fingerprints) marks.add(fingerprint);
  return marks;
}

const word = fc.string({ maxLength: 5 });
const fingerprint = fc.record({
  operation: word,
  group: word,
  dtype: word,
  elements: fc.nat(),
  instruction: word,
});
const fingerprints = fc.array(fingerprint, { minLength: 1, maxLength: 300 });

test('ranks that did the same do not differ, however far apart they are', () => {
  fc.assert(
    fc.property(fingerprints, fc.nat(), (all, seed) => {
      const behind = marksOf(all.slice(0, seed % all.length));
      const ahead = marksOf(all);
      assert.equal(behind.differsFrom(ahead.toText()), undefined);
      assert.equal(ahead.differsFrom(behind.toText()), undefined);
    }),
  );
});

test('any other collective, or two in another order, show at the end', () => {
  fc.assert(
    fc.property(fingerprints, fingerprint, fc.nat(), fc.boolean(), (all, other, seed, isSwapped) => {
      const place = seed % all.length;
      const [one, two] = all.slice(place, place + 2);
      const changed = isSwapped && two !== undefined && one !== undefined ? [two, one] : [other];
      fc.pre(JSON.stringify(changed) !== JSON.stringify(all.slice(place, place + changed.length)));
      const others = marksOf([...all.slice(0, place), ...changed, ...all.slice(place + changed.length)]);
      for (const found of [
        marksOf(all).differsFrom(others.toText()),
        others.differsFrom(marksOf(all).toText()),
      ])
        assert(found !== undefined && found > place && found <= all.length);
    }),
  );
});

test('a rank that is ahead sees at once what a rank behind it did else, and that one within as many as it is behind', () => {
  fc.assert(
    fc.property(fingerprints, fingerprint, fc.nat({ max: 300 }), (all, other, more) => {
      const last = all.length;
      const ahead = marksOf([...all, ...Array.from({ length: more }, () => other)]);
      const behind = marksOf([...all.slice(0, -1), { ...other, operation: 'another' }]);
      assert.equal(ahead.differsFrom(behind.toText()), last);
      const later = marksOf([
        ...all.slice(0, -1),
        { ...other, operation: 'another' },
        ...Array.from({ length: more >> 1 }, () => other),
      ]);
      assert.notEqual(later.differsFrom(ahead.toText()), undefined);
    }),
  );
});

test('ranks are still compared that are thousands of collectives apart, or have done more than they remember', () => {
  const one: Fingerprint = { operation: 'barrier', group: 'world', dtype: '', elements: 0, instruction: '' };
  const long = Array.from({ length: 100_000 }, () => one);
  const behind = marksOf([{ ...one, elements: 1 }, ...long]);
  const ahead = marksOf([one, ...long, ...long.slice(0, 20_000)]);
  assert.equal(ahead.differsFrom(behind.toText()) === undefined, false);
  assert.equal(behind.differsFrom(ahead.toText()) === undefined, false);
  assert.equal(marksOf(long).differsFrom(marksOf(long.slice(0, 10)).toText()), undefined);
});

test('texts that run together to the same are not the same', () => {
  const one: Fingerprint = { operation: 'ab', group: 'c', dtype: '', elements: 0, instruction: '' };
  const two: Fingerprint = { operation: 'a', group: 'bc', dtype: '', elements: 0, instruction: '' };
  assert.equal(marksOf([one]).differsFrom(marksOf([two]).toText()), 1);
});

test('what a rank has not said yet says nothing', () => {
  const one: Fingerprint = { operation: 'a', group: '', dtype: '', elements: 0, instruction: '' };
  assert.equal(marksOf([one]).differsFrom(''), undefined);
});
