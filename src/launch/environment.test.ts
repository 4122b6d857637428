import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { rankEnvironment } from './environment.js';
import type { Variables } from './variables.js';

const TORCHRUN: Variables = {
  RANK: '3',
  WORLD_SIZE: '4',
  LOCAL_RANK: '1',
  LOCAL_WORLD_SIZE: '2',
  GROUP_RANK: '1',
  MASTER_ADDR: 'node-0',
  MASTER_PORT: '29500',
  TORCHELASTIC_RUN_ID: 'job7',
  TORCHELASTIC_RESTART_COUNT: '2',
  TORCHELASTIC_USE_AGENT_STORE: 'True',
  TORCHELASTIC_ERROR_FILE: '/tmp/error.json',
};

test("without RANK and WORLD_SIZE this process is nobody's rank", () => {
  assert.equal(rankEnvironment({}), undefined);
  assert.equal(
    rankEnvironment({ MASTER_ADDR: 'somewhere', LOCAL_RANK: '1', RANK: '', WORLD_SIZE: ' ' }),
    undefined,
  );
});

test("torchrun's variables are read", () => {
  assert.deepEqual(rankEnvironment(TORCHRUN), {
    rank: 3,
    worldSize: 4,
    localRank: 1,
    localWorldSize: 2,
    hostName: 'host 1',
    masterAddress: 'node-0',
    masterPort: 29500,
    runId: 'job7/2',
    storeIsHosted: true,
    networkInterface: '',
    errorFile: '/tmp/error.json',
    source: 'variables',
  });
  assert.equal(rankEnvironment({ ...TORCHRUN, TORCHELASTIC_USE_AGENT_STORE: 'False' })?.storeIsHosted, false);
});

test('on one host, RANK, WORLD_SIZE and a port are enough', () => {
  const found = rankEnvironment({
    RANK: '1',
    WORLD_SIZE: '2',
    MASTER_ADDR: 'localhost',
    MASTER_PORT: '1234',
  });
  assert.equal(found?.localRank, 1);
  assert.equal(found?.localWorldSize, 2);
  assert.equal(found?.hostName, 'the host of rank 0');
  assert.equal(found?.networkInterface, 'lo');
  assert.equal(rankEnvironment({ RANK: '0', WORLD_SIZE: '1' })?.masterPort, 0);
});

test("DeepSpeed's LOCAL_SIZE stands for LOCAL_WORLD_SIZE", () => {
  const { LOCAL_WORLD_SIZE: _, ...others } = TORCHRUN;
  assert.equal(rankEnvironment({ ...others, LOCAL_SIZE: '2' })?.localWorldSize, 2);
});

/** Each contradiction, and the names that the message must hold. */
const CONFLICTS: readonly (readonly [Variables, readonly string[]])[] = [
  [{ RANK: '0' }, ['WORLD_SIZE', 'RANK=0']],
  [{ WORLD_SIZE: '2' }, ['RANK', 'WORLD_SIZE=2']],
  [{ ...TORCHRUN, RANK: '4' }, ['RANK=4', 'WORLD_SIZE=4']],
  [{ ...TORCHRUN, LOCAL_RANK: '2' }, ['LOCAL_RANK=2', 'LOCAL_WORLD_SIZE=2']],
  [{ ...TORCHRUN, LOCAL_WORLD_SIZE: '5' }, ['LOCAL_WORLD_SIZE=5', 'WORLD_SIZE=4']],
  [{ ...TORCHRUN, LOCAL_SIZE: '4' }, ['LOCAL_WORLD_SIZE=2', 'LOCAL_SIZE=4']],
  [{ ...TORCHRUN, MASTER_PORT: undefined }, ['MASTER_PORT', 'WORLD_SIZE=4']],
  [{ ...TORCHRUN, MASTER_ADDR: undefined }, ['MASTER_ADDR', 'WORLD_SIZE=4']],
  [{ ...TORCHRUN, LOCAL_RANK: undefined }, ['LOCAL_RANK', 'MASTER_ADDR=node-0']],
  [{ ...TORCHRUN, MASTER_PORT: '70000' }, ['MASTER_PORT', '65535']],
  [{ ...TORCHRUN, RANK: '-1' }, ['RANK', '"-1"']],
  [{ ...TORCHRUN, WORLD_SIZE: '4.0' }, ['WORLD_SIZE', '"4.0"']],
];

for (const [variables, names] of CONFLICTS) {
  test(`a contradiction is an error that names ${names.join(' and ')}`, () => {
    assert.throws(
      () => rankEnvironment(variables),
      (error) => {
        assert.ok(error instanceof TrainyardError);
        assert.equal(error.exitCode, 2);
        for (const name of names) assert.ok(error.message.includes(name), error.message);
        return true;
      },
    );
  });
}

test('--ranks must not contradict WORLD_SIZE', () => {
  assert.equal(rankEnvironment(TORCHRUN, 4)?.worldSize, 4);
  assert.throws(() => rankEnvironment(TORCHRUN, 2), /--ranks 2 contradicts .* WORLD_SIZE=4/);
});

test('whatever the variables hold, the answer is a consistent place or one of our errors', () => {
  const value = fc.oneof(fc.constant(undefined), fc.nat(5).map(String), fc.string({ maxLength: 4 }));
  const names = [
    'RANK',
    'WORLD_SIZE',
    'LOCAL_RANK',
    'LOCAL_WORLD_SIZE',
    'LOCAL_SIZE',
    'MASTER_ADDR',
    'MASTER_PORT',
  ];
  fc.assert(
    fc.property(fc.record(Object.fromEntries(names.map((name) => [name, value]))), (variables) => {
      try {
        const found = rankEnvironment(variables);
        if (found === undefined) return;
        assert.ok(found.rank < found.worldSize && found.localRank < found.localWorldSize);
        assert.ok(found.localWorldSize <= found.worldSize);
      } catch (error) {
        assert.ok(error instanceof TrainyardError, String(error));
      }
    }),
  );
});
