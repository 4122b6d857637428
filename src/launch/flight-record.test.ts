import assert from 'node:assert/strict';
import { closeSync, readdirSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { test } from 'node:test';
import { createFlightRecord, FlightRecorder, HEARTBEAT, readFlightRecord } from './flight-record.js';

test('the last section written is the one that is read', () => {
  const descriptor = createFlightRecord();
  assert.equal(readFlightRecord(descriptor), undefined);
  const recorder = new FlightRecorder(descriptor);
  const before = Date.now();
  recorder.write(1, 'forward block.0 micro 0 with a long name');
  recorder.write(12, 'wait größe');
  const section = readFlightRecord(descriptor);
  assert.equal(section?.step, 12);
  assert.equal(section?.instruction, 'wait größe');
  assert.ok((section?.since ?? 0) >= before);
  closeSync(descriptor);
});

test('an instruction longer than the record is cut', () => {
  const descriptor = createFlightRecord();
  new FlightRecorder(descriptor).write(1, 'ü'.repeat(1000));
  assert.match(readFlightRecord(descriptor)?.instruction ?? '', /^ü{100,}$/);
  closeSync(descriptor);
});

test('a heartbeat tells how long the process has not run, whatever its sections are', () => {
  const descriptor = createFlightRecord();
  const recorder = new FlightRecorder(descriptor);
  writeSync(descriptor, new Float64Array([Date.now()]), 0, 8, HEARTBEAT.byteOffset);
  assert.equal(readFlightRecord(descriptor), undefined);
  writeSync(descriptor, new Float64Array([0]), 0, 8, HEARTBEAT.byteOffset);
  recorder.write(1, 'forward block.0');
  assert.deepEqual(Object.keys(readFlightRecord(descriptor) ?? {}), ['step', 'since', 'instruction']);
  writeSync(descriptor, new Float64Array([Date.now() - 5000]), 0, 8, HEARTBEAT.byteOffset);
  recorder.write(1, 'ü'.repeat(1000));
  const { silentMs = 0 } = readFlightRecord(descriptor) ?? {};
  assert.ok(silentMs >= 5000 && silentMs < 65_000, `${silentMs}`);
  closeSync(descriptor);
});

test('no file is left behind, not even while the record is in use', () => {
  const descriptor = createFlightRecord();
  for (const folder of ['/dev/shm', tmpdir()]) {
    assert.deepEqual(
      readdirSync(folder).filter((name) => name.startsWith(`trainyard-${process.pid}-`)),
      [],
    );
  }
  closeSync(descriptor);
});
