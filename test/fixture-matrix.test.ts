import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { allJobs, slice, WORLDS } from './matrix/jobs.js';
import { faultsOf, runJobs } from './matrix/run.js';

const MODELS = join(import.meta.dirname, '../../test/fixtures/models');

/** A prime that divides the length of no list. `node dist/test/fixture-matrix.js` runs everything. */
const EVERY = 53;

describe('a slice of the matrix of layouts', { concurrency: 1 }, () => {
  for (const [name, worlds] of [
    ['llama-gqa-tied', WORLDS],
    ['gpt2-relu', [2, 3]],
  ] as const) {
    for (const world of worlds) {
      test(`${name} on ${world}`, async () => {
        const outcomes = await runJobs(world, slice(allJobs(join(MODELS, name)), EVERY, world));
        assert.ok(outcomes.length > 0);
        assert.deepEqual(faultsOf(outcomes), []);
      });
    }
  }
});
