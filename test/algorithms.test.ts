import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ending, failure, passes, start } from './process-group-harness.js';

// The plans of other worlds are proved in src/comm/algorithm.test.ts.
for (const ranks of [1, 2, 3, 4]) {
  test(`every algorithm of our own conforms on ${ranks}`, async () => {
    await passes('every algorithm', ranks);
  });
}

for (const algorithm of ['ring', 'hierarchical']) {
  test(`a dead peer is named by ${algorithm}, with the collective`, async () => {
    const endings = await Promise.all((await start(`dead peer by ${algorithm}`, 4, 4, 60_000)).map(ending));
    for (const each of endings.slice(0, -1)) {
      const { code, what = '', where = '' } = failure(each);
      assert.equal(code, 'COLLECTIVE_FAILED');
      assert.match(what, new RegExp(`^allReduce \\(sum\\) of float32 \\[1000\\] by ${algorithm} failed: `));
      assert.match(what, /: a peer is gone/);
      assert.match(where, /^rank [0-2] of 4\b/);
      assert(each.seconds < 30, `it took ${each.seconds} s`);
    }
    // The rank that waits for the dead one itself: the next in the ring, or the other on its host.
    const { what = '', got = '' } = failure(endings[algorithm === 'ring' ? 0 : 2]);
    assert.match(`${what} ${got}`, /rank 3/);
  });
}

test('a peer that does not take part is named at the deadline, by a planned algorithm', async () => {
  const [first, second] = await start('absent peer by ring', 2, 2, 10_000);
  assert(first !== undefined && second !== undefined);
  const { what = '' } = failure(await ending(first));
  second.kill('SIGKILL');
  assert.match(
    what,
    /^allReduce \(mean\) of float32 \[8\] by ring failed: receive from rank 1 of float32 \[4\] was not finished within 10 s/,
  );
});

test('an algorithm that goes between hosts is refused on one', async () => {
  const endings = await Promise.all((await start('hierarchical on one host', 2, 2, 20_000)).map(ending));
  for (const error of endings.map(failure)) {
    assert.equal(error.code, 'CONFIG_CONFLICT');
    assert.equal(error.where, 'communication.algorithm');
    assert.match(error.got ?? '', /all ranks are on one/);
  }
});
