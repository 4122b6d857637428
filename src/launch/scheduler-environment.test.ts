import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { rankEnvironment } from './environment.js';
import type { Variables } from './variables.js';

/** A task of `srun` with 4 + 3 tasks. */
const SRUN: Variables = {
  SLURM_JOB_ID: '77',
  SLURM_STEP_ID: '0',
  SLURM_NTASKS: '7',
  SLURM_PROCID: '5',
  SLURM_LOCALID: '1',
  SLURM_NODEID: '1',
  SLURM_JOB_NODELIST: 'n[1-9]',
  SLURM_STEP_NODELIST: 'n[03-04]',
  SLURM_STEP_NUM_TASKS: '7',
  SLURM_STEP_NUM_NODES: '2',
  SLURM_STEP_TASKS_PER_NODE: '4,3',
};

const OPEN_MPI: Variables = {
  OMPI_COMM_WORLD_RANK: '1',
  OMPI_COMM_WORLD_SIZE: '2',
  OMPI_COMM_WORLD_LOCAL_RANK: '1',
  OMPI_COMM_WORLD_LOCAL_SIZE: '2',
  PMIX_NAMESPACE: 'prterun-a-1@1',
};

test("srun's variables are read, and the first node of the step is where ranks meet", () => {
  const found = rankEnvironment({ ...SRUN, TRAINYARD_RUN_ID: 'secret' });
  assert.ok(found !== undefined);
  const { masterPort, ...others } = found;
  assert.ok(masterPort >= 15_000 && masterPort < 30_000);
  assert.deepEqual(others, {
    rank: 5,
    worldSize: 7,
    localRank: 1,
    localWorldSize: 3,
    hostName: 'host 1',
    masterAddress: 'n03',
    runId: 'secret/0',
    storeIsHosted: false,
    networkInterface: '',
    errorFile: undefined,
    source: 'variables',
  });
  assert.equal(rankEnvironment({ ...SRUN, SLURM_PROCID: '0', SLURM_NODEID: '0' })?.masterPort, masterPort);
});

test('a second start of a job is another run', () => {
  const [first, second] = ['0', '1'].map(
    (count) => rankEnvironment({ ...SRUN, SLURM_RESTART_COUNT: count })?.runId,
  );
  assert.ok(first !== undefined && first !== second, first);
});

test('what a person sets goes before what the scheduler says', () => {
  const found = rankEnvironment({ ...SRUN, MASTER_ADDR: 'ib-3', MASTER_PORT: '4000' });
  assert.deepEqual([found?.masterAddress, found?.masterPort, found?.rank], ['ib-3', 4000, 5]);
});

test('variables that are merely there make no rank of a process', () => {
  const { SLURM_STEP_NUM_TASKS: _, ...batchScript } = SRUN;
  const inStep = { ...SRUN, SLURM_STEP_NUM_TASKS: '1', SLURM_PROCID: '0' };
  for (const [where, variables] of [
    ['the script of sbatch', { ...batchScript, SLURM_PROCID: '0', SLURM_LOCALID: '0', SLURM_NODEID: '0' }],
    ['a shell by srun --pty', { ...SRUN, SLURM_PROCID: '0', SLURM_PTY_PORT: '40001' }],
    ['an interactive step', inStep],
    ['srun of one task with PMI', { ...inStep, PMI_SIZE: '1', PMI_RANK: '0' }],
    [
      'mpirun of one rank',
      {
        ...OPEN_MPI,
        OMPI_COMM_WORLD_SIZE: '1',
        OMPI_COMM_WORLD_RANK: '0',
        OMPI_COMM_WORLD_LOCAL_SIZE: '1',
        OMPI_COMM_WORLD_LOCAL_RANK: '0',
      },
    ],
    ['a pod of an indexed job', { JOB_COMPLETION_INDEX: '3' }],
  ] as const) {
    assert.equal(rankEnvironment(variables, 4), undefined, where);
  }
});

test('Open MPI: on one host nothing more is needed, on several MASTER_ADDR', () => {
  const found = rankEnvironment(OPEN_MPI);
  assert.deepEqual(
    [found?.rank, found?.worldSize, found?.localRank, found?.masterAddress],
    [1, 2, 1, '127.0.0.1'],
  );
  const several = { ...OPEN_MPI, OMPI_COMM_WORLD_SIZE: '4', PMIX_HOSTNAME: 'b' };
  assert.throws(() => rankEnvironment(several), /MASTER_ADDR is not set/);
  assert.equal(rankEnvironment({ ...several, MASTER_ADDR: 'a' })?.hostName, 'host b');
});

test('mpirun inside an allocation counts, not the srun that started its helpers', () => {
  const helpers = { ...SRUN, SLURM_STEP_NUM_TASKS: '2', SLURM_PROCID: '1' };
  assert.equal(rankEnvironment({ ...helpers, ...OPEN_MPI })?.worldSize, 2);
  const hydra = { ...helpers, PMI_RANK: '2', PMI_SIZE: '3', MPI_LOCALRANKID: '2', MPI_LOCALNRANKS: '3' };
  assert.deepEqual([rankEnvironment(hydra)?.rank, rankEnvironment(hydra)?.worldSize], [2, 3]);
  const plugin = { ...SRUN, PMI_RANK: '5', PMI_SIZE: '7' };
  assert.deepEqual(rankEnvironment(plugin), rankEnvironment(SRUN));
  assert.equal(rankEnvironment({ ...plugin, SLURM_PTY_PORT: '40001' }), undefined);
});

test('torchrun inside srun numbers its ranks itself; RANK that was left over is refused', () => {
  const torchrun = { RANK: '0', WORLD_SIZE: '7', LOCAL_RANK: '0', MASTER_ADDR: 'n03', MASTER_PORT: '1' };
  assert.equal(rankEnvironment({ ...SRUN, ...torchrun, TORCHELASTIC_RUN_ID: 'x' })?.rank, 0);
  assert.equal(rankEnvironment({ ...SRUN, ...torchrun, RANK: '5' })?.rank, 5);
  assert.throws(() => rankEnvironment({ ...SRUN, ...torchrun }), /Two launchers.*RANK=0, and rank 5/s);
});

/** Each contradiction, and the names that the message must hold. */
for (const [variables, names] of [
  [{ ...SRUN, SLURM_PROCID: '7' }, ['SLURM_PROCID=7', 'SLURM_STEP_NUM_TASKS=7']],
  [{ ...SRUN, SLURM_LOCALID: '3' }, ['SLURM_LOCALID=3', 'SLURM_STEP_TASKS_PER_NODE=4,3']],
  [{ ...SRUN, SLURM_NODEID: '2' }, ['SLURM_STEP_TASKS_PER_NODE', 'node 2']],
  [{ ...SRUN, SLURM_STEP_NODELIST: 'n[' }, ['SLURM_STEP_NODELIST', '"n["']],
  [{ ...OPEN_MPI, OMPI_COMM_WORLD_RANK: '2' }, ['OMPI_COMM_WORLD_RANK=2', 'OMPI_COMM_WORLD_SIZE=2']],
  [{ ...OPEN_MPI, OMPI_COMM_WORLD_RANK: undefined }, ['OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE']],
  [
    { ...OPEN_MPI, OMPI_COMM_WORLD_LOCAL_SIZE: '3' },
    ['OMPI_COMM_WORLD_LOCAL_SIZE=3', 'OMPI_COMM_WORLD_SIZE=2'],
  ],
  [{ PMI_SIZE: '2', PMI_RANK: 'x' }, ['PMI_RANK', '"x"']],
] as const) {
  test(`a contradiction is an error that names ${names.join(' and ')}`, () => {
    assert.throws(
      () => rankEnvironment(variables),
      (error) => {
        assert.ok(error instanceof TrainyardError && error.exitCode === 2);
        for (const name of names) assert.ok(error.message.includes(name), error.message);
        return true;
      },
    );
  });
}

test('--ranks must not contradict the number of tasks', () => {
  assert.equal(rankEnvironment(SRUN, 7)?.worldSize, 7);
  assert.throws(() => rankEnvironment(SRUN, 2), /--ranks 2 contradicts .* SLURM_STEP_NUM_TASKS=7/);
});

test('whatever the variables hold, the answer is a consistent place or one of our errors', () => {
  const value = fc.oneof(
    fc.constant(undefined),
    fc.nat(5).map(String),
    fc.constantFrom('n[1-2]', '2(x2)', ' ', 'x'),
  );
  const names = [
    ...Object.keys(SRUN),
    ...Object.keys(OPEN_MPI),
    'PMI_RANK',
    'PMI_SIZE',
    'MPI_LOCALRANKID',
    'MASTER_ADDR',
  ];
  fc.assert(
    fc.property(fc.record(Object.fromEntries(names.map((name) => [name, value]))), (variables) => {
      try {
        const found = rankEnvironment(variables);
        if (found === undefined) return;
        assert.ok(found.worldSize > 1 && found.rank < found.worldSize);
        assert.ok(found.localRank < found.localWorldSize && found.localWorldSize <= found.worldSize);
      } catch (error) {
        assert.ok(error instanceof TrainyardError, String(error));
      }
    }),
    { numRuns: 500 },
  );
});
