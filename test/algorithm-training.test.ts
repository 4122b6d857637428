import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { ALGORITHM_NAMES } from '../src/comm/algorithm.js';
import { type Job, USUAL } from './matrix/jobs.js';
import { faultsOf, runJobs } from './matrix/run.js';

const MODELS = join(import.meta.dirname, '../../test/fixtures/models');

describe('every algorithm of our own comes to the same training', { concurrency: 1 }, () => {
  // Worlds of two, of a prime and of a power of two take turns; algorithms.test.ts has every algorithm on each.
  for (const [index, algorithm] of ALGORITHM_NAMES.entries()) {
    for (const world of [[3], [4], [2]][index % 3] ?? []) {
      test(`${algorithm} on ${world}, stages 0, 2 and 3`, async () => {
        const jobs = ([0, 2, 3] as const).map((stage): Job => {
          const folder = join(MODELS, 'llama-gqa-tied');
          return { ...USUAL, folder, stage, accumulation: 2 };
        });
        const outcomes = await runJobs(world, jobs, algorithm);
        assert.equal(outcomes.length, world * jobs.length);
        assert.deepEqual(faultsOf(outcomes), []);
      });
    }
  }
});
