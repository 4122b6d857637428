import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { hostEnvironment } from './host-environment.js';

const POD = {
  TRAINYARD_HOSTS: '3',
  TRAINYARD_RANKS_PER_HOST: '4',
  JOB_COMPLETION_INDEX: '2',
  MASTER_ADDR: 'run-hosts-0-0.run',
  MASTER_PORT: '29500',
  TRAINYARD_RUN_ID: '0123456789abcdef0123456789abcdef',
};

test('a pod of the emitted manifest starts its part of the ranks', () => {
  assert.deepEqual(hostEnvironment(POD, 12), {
    ranks: 4,
    place: {
      host: 2,
      firstRank: 8,
      worldSize: 12,
      masterAddress: 'run-hosts-0-0.run',
      masterPort: 29_500,
      runId: '0123456789abcdef0123456789abcdef-0',
      networkInterface: '',
    },
  });
  assert.equal(hostEnvironment({ ...POD, TRAINYARD_HOST: '1' })?.place.firstRank, 4);
  assert.match(hostEnvironment({ ...POD, TRAINYARD_ATTEMPT: '3' })?.place.runId ?? '', /-3$/);
});

test('a pod of any other job is a host of its own', () => {
  assert.equal(hostEnvironment({ ...POD, TRAINYARD_HOSTS: undefined }), undefined);
});

for (const [change, pattern] of [
  [{ JOB_COMPLETION_INDEX: '3' }, /host 3 of 3/],
  [{ JOB_COMPLETION_INDEX: undefined }, /JOB_COMPLETION_INDEX is not set/],
  [{ TRAINYARD_RANKS_PER_HOST: '0' }, /at least one rank/],
  [{ TRAINYARD_HOSTS: '2.5' }, /TRAINYARD_HOSTS is malformed.*"2.5"/s],
  [{ MASTER_ADDR: '' }, /MASTER_ADDR is not set/],
  [{ MASTER_PORT: '70000' }, /MASTER_PORT is malformed/],
  [{ TRAINYARD_RUN_ID: 'run' }, /too short to be a secret/],
] as const) {
  test(`${JSON.stringify(change)} is refused`, () => {
    assert.throws(
      () => hostEnvironment({ ...POD, ...change }),
      (error) => error instanceof TrainyardError && error.exitCode === 2 && pattern.test(error.message),
    );
  });
}

test('--ranks is the number of all ranks', () => {
  assert.throws(() => hostEnvironment(POD, 4), /--ranks 4 contradicts TRAINYARD_HOSTS=3/);
});
