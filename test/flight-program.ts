import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { TrainyardError } from '../src/base/errors.js';
import { Flight } from '../src/comm/flight/flight.js';
import type { ProcessGroup } from '../src/comm/process-group.js';
import { rendezvous } from '../src/comm/rendezvous.js';
import { zeros } from '../src/tensor/generated/functions.js';
import { leaveProcess } from '../src/tensor/process.js';
import { scope } from '../src/tensor/tensor.js';

/**
 * One rank of the tests of what happens when a rank does not do its part:
 * `node flight-program.js SCENARIO TRANSPORT CULPRIT TIMEOUT_MS FOLDER RANK WORLD PORT`. Says how long its last
 * collective took, in milliseconds, and with which error it ended.
 */
const [
  scenario = '',
  transport = '',
  culprit = '',
  timeoutMs = '',
  folder = '',
  rankText = '',
  world = '',
  port = '',
] = process.argv.slice(2);
const rank = Number(rankText);
const worldSize = Number(world);
const isCulprit = rank === Number(culprit);

const run = 'test/0';
const flight = new Flight({ run, rank, worldSize }, folder);
const group = rendezvous({
  rank,
  worldSize,
  masterAddress: '127.0.0.1',
  masterPort: Number(port),
  storeIsHosted: false,
  runId: run,
  networkInterface: 'lo',
  timeoutMs: Number(timeoutMs),
  flight,
  ...(transport === 'shared-memory' && {
    exchange: {
      algorithm: 'shared-memory' as const,
      hostName: 'host',
      localWorldSize: worldSize,
      inOrder: false,
      cores: availableParallelism(),
      threadsPerRank: 1,
    },
  }),
});

/** What the culprit does in place of its part of the fourth bucket, or of the last. */
const faults: Readonly<Record<string, (group: ProcessGroup) => void>> = {
  'other operation': ({ worldSize: ranks }) => {
    flight.recorder.enter('evaluate');
    group.allGather(zeros([ranks * 1003]), zeros([1003])).wait();
  },
  'skips one': () => {},
  'saves alone': () => {
    flight.recorder.enter('save');
    group.withDeadline(60 * Number(timeoutMs)).close();
  },
  'other bucket': () => {
    flight.recorder.enter('step 7, reduce bucket.8 start');
    group.allReduce(zeros([1003]), 'sum').wait();
  },
  'other last bucket': () => {
    flight.recorder.enter('step 7, reduce bucket.8 start');
    group.allReduce(zeros([1004]), 'sum').wait();
  },
  sleeps: () => sleep(3 * Number(timeoutMs)),
  stops: () => process.kill(process.pid, 'SIGSTOP'),
  'is killed': () => process.kill(process.pid, 'SIGKILL'),
  'fails otherwise': () => {
    flight.fail('the data end in the middle of a line');
    leaveProcess(0);
  },
};

let startedMs = performance.now();
try {
  scope(() => {
    for (const bucket of scenario === 'other bucket'
      ? Array.from({ length: 3000 }, (_, index) => index)
      : [0, 1, 2, 3, 4]) {
      // So that they last for more than a moment.
      if (bucket > 100) sleep(10);
      startedMs = performance.now();
      if (bucket === (scenario === 'other last bucket' ? 4 : 3) && isCulprit) {
        const fault = faults[scenario];
        assert(fault !== undefined, `no scenario ${scenario}`);
        fault(group);
        if (scenario !== 'sleeps') continue;
      }
      flight.recorder.enter(`step 7, reduce bucket.${bucket} start`);
      group.allReduce(zeros([1000 + bucket]), 'sum').wait();
    }
  });
  startedMs = performance.now();
  if (scenario === 'other last bucket') group.close();
  process.stdout.write('{}');
} catch (error) {
  if (!(error instanceof TrainyardError)) throw error;
  const waitedMs = performance.now() - startedMs;
  process.stdout.write(JSON.stringify({ code: error.code, ...error.report, waitedMs }));
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}
process.stdout.write('', () => leaveProcess(0));
