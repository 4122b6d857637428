import assert from 'node:assert/strict';

/** Requires equal numbers at equal places: `deepEqual` takes minutes where there are millions. */
export function assertSameValues(actual: ArrayLike<number>, expected: ArrayLike<number>, what = ''): void {
  assert.equal(actual.length, expected.length, `length of ${what}`);
  for (let place = 0; place < expected.length; place += 1) {
    if (Object.is(actual[place], expected[place])) continue;
    if (actual[place] === 0 && expected[place] === 0) continue;
    assert.fail(`${what}: ${actual[place]} at ${place}, where ${expected[place]} was expected`);
  }
}
