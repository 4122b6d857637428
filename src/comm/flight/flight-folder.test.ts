import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { CollectiveRecorder } from './collective-recorder.js';
import { readFlightFolder, writeFlightRecord } from './flight-folder.js';
import { parseFlightRecord } from './flight-record.js';
import { Ring } from './ring.js';

const root = mkdtempSync(join(tmpdir(), 'trainyard-flight-folder-'));
after(() => rmSync(root, { recursive: true }));

test('a ring keeps the newest, in their order', () => {
  fc.assert(
    fc.property(fc.array(fc.nat()), fc.integer({ min: 1, max: 8 }), fc.nat(10), (things, capacity, most) => {
      const ring = new Ring<number>(capacity);
      for (const thing of things) ring.push(thing);
      const kept = things.slice(-capacity);
      assert.deepEqual(ring.toArray(), kept);
      assert.deepEqual(ring.toArray(most), most === 0 ? [] : kept.slice(-most));
    }),
  );
});

test('a recorder numbers collectives, remembers a thousand, and gives messages no number', () => {
  const recorder = new CollectiveRecorder({ run: 'a', rank: 1, worldSize: 2 });
  const call = {
    operation: 'allGather',
    group: 'world',
    dtype: 'float32',
    elements: 3,
    counted: 'by all' as const,
  };
  for (let count = 0; count < 1500; count += 1) recorder.start(call);
  recorder.enter('step 2, clip');
  recorder.start({ ...call, counted: 'not' });
  const { collectives } = recorder.record('waiting', '');
  assert.equal(collectives.length, 1000);
  assert.equal(collectives[0]?.sequence, 502);
  assert.deepEqual(
    collectives.slice(-2).map(({ sequence }) => sequence),
    [1500, null],
  );
  assert.equal(collectives.at(-1)?.instruction, 'step 2, clip');
});

test('what is written can be read, over what was there, and leaves nothing else', () => {
  const folder = join(root, 'a/b');
  const recorder = new CollectiveRecorder({ run: 'a', rank: 1, worldSize: 2 });
  recorder.start({ operation: 'barrier', group: 'world', dtype: '', elements: 0, counted: 'by all' });
  for (const reason of ['first', 'second']) writeFlightRecord(folder, recorder.record('failed', reason));
  assert.deepEqual(readdirSync(folder), ['rank-1.json']);
  assert.equal(readFlightFolder(folder).records[0]?.reason, 'second');
});

test('hostile and damaged files are told, and the others are read', () => {
  const folder = join(root, 'hostile');
  const recorder = new CollectiveRecorder({ run: 'a', rank: 0, worldSize: 12 });
  writeFlightRecord(folder, recorder.record('failed', 'because'));
  const whole = JSON.stringify(recorder.record('failed', 'because'));
  const file = (rank: number): string => join(folder, `rank-${rank}.json`);
  writeFileSync(file(1), whole.slice(0, 40));
  writeFileSync(file(2), whole);
  writeFileSync(file(3), Buffer.alloc((4 << 20) + 1, 0x20));
  symlinkSync('/etc/hostname', file(4));
  execFileSync('mkfifo', [file(5)]);
  writeFileSync(file(6), whole.replace('"rank":0', '"rank":12'));
  writeFileSync(file(7), '['.repeat(100_000));
  writeFileSync(file(8), '{"__proto__": {"rank": 8}}');
  writeFileSync(join(folder, 'rank-9.json.1.tmp'), 'unfinished');
  const { records, refused } = readFlightFolder(folder);
  assert.deepEqual(
    records.map(({ rank }) => rank),
    [0],
  );
  assert.deepEqual(
    refused.map(({ file: name }) => name).sort(),
    [1, 2, 3, 4, 5, 6, 7, 8].map((rank) => `rank-${rank}.json`),
  );
});

test('a folder that is a link is not written to', () => {
  const link = join(root, 'link');
  symlinkSync(root, link);
  const recorder = new CollectiveRecorder({ run: 'a', rank: 0, worldSize: 2 });
  assert.throws(() => writeFlightRecord(link, recorder.record('failed', '')), /is no folder/);
});

test('no text makes the reader throw', () => {
  const texts = fc.oneof(fc.string(), fc.json());
  fc.assert(fc.property(texts, (text) => assert.equal(typeof parseFlightRecord(text), 'string')));
});
