import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { CollectiveRecorder } from '../comm/flight/collective-recorder.js';
import { writeFlightRecord } from '../comm/flight/flight-folder.js';
import { reportFlight } from './flight-report.js';

const root = mkdtempSync(join(tmpdir(), 'trainyard-flight-report-'));
after(() => rmSync(root, { recursive: true }));

test('the newest run is reported; older records and other files do not count', () => {
  const folder = join(root, 'runs');
  const old = new CollectiveRecorder({ run: 'old', rank: 3, worldSize: 4 });
  writeFlightRecord(folder, { ...old.record('collective failed', 'gone'), time: 1 });
  for (const rank of [0, 2]) {
    const recorder = new CollectiveRecorder({ run: 'new', rank, worldSize: 3 });
    recorder.enter('step 4, reduce bucket.0 start');
    recorder.start({
      operation: 'allReduce (sum)',
      group: 'world',
      dtype: 'float32',
      elements: 7,
      counted: 'by all',
    });
    writeFlightRecord(folder, recorder.record('collective failed', 'timed out'));
  }
  writeFileSync(join(folder, 'rank-1.json'), '{');
  const { run, verdict, ranks, culprit, ignored } = reportFlight(folder);
  assert.equal(run, 'new');
  assert.equal(
    verdict,
    'Rank 1 left no word, and is awaited in allReduce (sum) of float32 × 7 (collective 1: step 4, reduce bucket.0 start): it is gone, has stopped, or cannot be reached over the network.',
  );
  assert.deepEqual(culprit?.ranks, [1]);
  assert.deepEqual(
    ranks.map(({ rank }) => rank),
    [0, 2],
  );
  assert.deepEqual(ignored.map(({ file }) => file).sort(), ['rank-1.json', 'rank-3.json']);
});

test('a folder that is not there, or has no records, is refused', () => {
  writeFileSync(join(root, 'rank-0.json'), '[]');
  for (const folder of [join(root, 'absent'), root]) {
    assert.throws(
      () => reportFlight(folder),
      (error) => error instanceof TrainyardError && error.code === 'FLIGHT_UNREADABLE',
    );
  }
});
