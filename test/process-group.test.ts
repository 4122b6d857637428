import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { freePort } from '../src/launch/free-port.js';
import { ending, failure, passes, start, startRank } from './process-group-harness.js';

/** Ranks must meet within it too, on a machine that does other things. */
const DEADLINE_MS = 10_000;

test('a world of one: the group that does nothing, and Gloo', async () => {
  for (const scenario of ['single', 'gloo', 'rendezvous']) await passes(scenario, 1);
});

test('two ranks conform', async () => {
  await passes('gloo', 2);
  await passes('rendezvous', 2);
  await passes('shared memory', 2);
});

test('three ranks conform', async () => {
  await passes('rendezvous', 3);
  await passes('shared memory', 3);
});

test('shared memory with a thread beside the caller', async () => {
  await passes('shared memory, a thread beside', 2);
  await passes('shared memory, a thread beside', 3);
});

test('shared memory with more ranks than cores', async () => {
  await passes('shared memory', 5);
});

test('some of the ranks are groups of their own', async () => {
  await passes('along the axes of a mesh', 8);
  await passes('along the axes of a mesh, in shared memory', 4);
});

for (const where of ['', ' in shared memory']) {
  test(`a dead peer fails the others long before the deadline${where}`, async () => {
    const [first, second] = await Promise.all((await start(`dead peer${where}`, 2, 2, 60_000)).map(ending));
    assert.equal(second?.status, null);
    const error = failure(first);
    assert.equal(error.code, 'COLLECTIVE_FAILED');
    assert.match(error.what ?? '', /^allReduce( \(sum\))? of float32 \[1000\] failed: a peer is gone/);
    assert.match(error.where ?? '', /^rank 0 of 2, allReduce \(sum\) of float32 × 1000 \(collective 1\)$/);
    assert((first?.seconds ?? 0) < 30, `it took ${first?.seconds} s`);
    if (where !== '') assert.equal(error.got, 'rank 1 is gone');
  });
}

describe('deadlines', { concurrency: true }, () => {
  for (const where of ['', ' in shared memory']) {
    test(`a peer that does not take part fails the others${where}`, async () => {
      const [first, second] = await start(`absent peer${where}`, 2, 2, DEADLINE_MS);
      assert(first !== undefined && second !== undefined);
      const error = failure(await ending(first));
      second.kill('SIGKILL');
      assert.equal(error.code, 'COLLECTIVE_FAILED');
      assert.match(error.what ?? '', /^allReduce( \(mean\))? of float32 \[8\] was not finished within 10 s/);
    });
  }

  test('ranks that never come are named by those that did', async () => {
    const endings = await Promise.all((await start('meet', 4, 2, DEADLINE_MS)).map(ending));
    for (const each of endings) {
      const error = failure(each);
      assert.equal(error.code, 'RENDEZVOUS_FAILED');
      assert.equal(error.what, 'Ranks 2, 3 did not come within 10 s.');
      assert.equal(error.got, '2 ranks');
    }
  });

  test('a save that takes longer than the deadline is waited for', async () => {
    await passes('slow save', 2, 2_000);
  });
});

test('ranks in different operations are told so, all of them', async () => {
  const endings = await Promise.all((await start('other operation', 3, 3, 60_000)).map(ending));
  const errors = endings.map(failure);
  for (const { code, what } of errors) {
    assert.equal(code, 'COLLECTIVE_FAILED');
    assert.match(what ?? '', /the ranks are not in the same operation/);
  }
  assert.match(
    errors[0]?.got ?? '',
    /ranks 0, 2 in allReduce \(mean\) of float32 × 9 .*; rank 1 in broadcast from rank 0 of float32 × 8/,
  );
});

test('a saver that dies fails the others at once', async () => {
  const [, second] = await Promise.all((await start('dead saver', 2, 2, 60_000)).map(ending));
  const error = failure(second);
  assert.equal(error.code, 'COLLECTIVE_FAILED');
  assert.match(error.what ?? '', /failed: a peer is gone/);
  assert((second?.seconds ?? 0) < 30, `it took ${second?.seconds} s`);
});

test('a store that does not answer is named with its address', async () => {
  const port = await freePort('127.0.0.1');
  const error = failure(await ending(startRank('meet', 1, 2, port, 1_500)));
  assert.equal(error.code, 'RENDEZVOUS_FAILED');
  assert.equal(error.what, `The store at 127.0.0.1:${port} did not answer within 1.5 s.`);
});

test('two processes with one rank are told so', async () => {
  const port = await freePort('127.0.0.1');
  const ranks = [0, 1, 1].map((rank) => startRank('meet', rank, 3, port, 60_000));
  const error = failure(await Promise.race(ranks.slice(1).map(ending)));
  for (const each of ranks) each.kill('SIGKILL');
  assert.equal(error.what, 'Another process of this run already is rank 1.');
});

test('ranks end cleanly again and again', async () => {
  for (let run = 0; run < 5; run += 1) await passes('meet', 2);
});
