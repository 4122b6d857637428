import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { FingerprintMarks } from './fingerprint-marks.js';

function marksOf(fingerprints: readonly string[]): FingerprintMarks {
  const marks = new FingerprintMarks();
  for (const [index, fingerprint] of fingerprints.entries()) marks.add(index + 1, fingerprint);
  return marks;
}

const fingerprints = fc.array(fc.string({ maxLength: 5 }), { minLength: 64, maxLength: 300 });

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

test('one other collective, or two in another order, show at the next mark', () => {
  fc.assert(
    fc.property(fingerprints, fc.nat(), fc.boolean(), (all, seed, isSwapped) => {
      const last = all.length - (all.length % 32);
      const place = seed % (last - 1);
      const [one = '', two = ''] = [all[place], all[place + 1]];
      const changed = isSwapped ? [two, one] : [`${one}!`, two];
      fc.pre(!isSwapped || one !== two);
      const others = marksOf([...all.slice(0, place), ...changed, ...all.slice(place + 2)]);
      const next = 32 * (Math.floor(place / 32) + 1);
      assert.equal(marksOf(all).differsFrom(others.toText()), next);
      assert.equal(others.differsFrom(marksOf(all).toText()), next);
    }),
  );
});

test('what a rank has not said yet says nothing', () => {
  assert.equal(marksOf(Array.from({ length: 64 }, () => 'a')).differsFrom(''), undefined);
});
