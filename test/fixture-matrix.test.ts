import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ACCUMULATIONS, allJobs, type Job, slice, TRANSPORTS, WORLDS } from './matrix/jobs.js';
import { faultsOf, runJobs } from './matrix/run.js';

const MODELS = join(import.meta.dirname, '../../test/fixtures/models');

/** Primes that divide the length of no list. `node dist/test/fixture-matrix.js` runs everything. */
const EVERY = 307;
const EVERY_DETERMINISTIC = 7;

/** Some of all, and some of those that must come to the same bits. */
function sample(folder: string, world: number): readonly Job[] {
  const jobs = allJobs(folder);
  const accumulation = ACCUMULATIONS[world % ACCUMULATIONS.length];
  const alike = jobs.filter((job) => job.deterministic && job.accumulation === accumulation);
  return [
    ...slice(
      jobs.filter(({ deterministic }) => !deterministic),
      EVERY,
      world,
    ),
    ...slice(alike, EVERY_DETERMINISTIC, world),
  ];
}

describe('a slice of the matrix of layouts', { concurrency: 1 }, () => {
  for (const [name, worlds] of [
    ['llama-gqa-tied', WORLDS],
    ['gpt2-relu', [2, 3]],
  ] as const) {
    for (const world of worlds) {
      test(`${name} on ${world}`, async () => {
        const jobs = sample(join(MODELS, name), world);
        const layouts = jobs.filter(({ deterministic }) => deterministic);
        assert.ok(
          new Set(layouts.map(({ stage }) => stage)).size >= 3,
          'bits of several stages are compared',
        );
        const outcomes = await runJobs(world, jobs, TRANSPORTS[world % 2] ?? 'auto');
        assert.equal(outcomes.length, world * jobs.length);
        assert.deepEqual(faultsOf(outcomes), []);
      });
    }
  }
});
