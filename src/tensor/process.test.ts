import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { Worker } from 'node:worker_threads';

const folder = mkdtempSync(join(tmpdir(), 'trainyard-heartbeat-'));
after(() => rmSync(folder, { recursive: true }));

const OFFSET = 16;
const BEATS = `
  const { startHeartbeat } = await import(${JSON.stringify(new URL('./process.js', import.meta.url).href)});
  const { openSync, readSync } = await import('node:fs');
  const descriptor = openSync(process.env.TEST_BEATS ?? '', 'w+');
  startHeartbeat(descriptor, ${OFFSET}, 1);
  const beat = new Float64Array(1);
  const read = () => readSync(descriptor, beat, 0, 8, ${OFFSET}) === 8 ? beat[0] : 0;
`;

function lastBeat(path: string): number {
  const descriptor = openSync(path, 'r');
  const beat = new Float64Array(1);
  readSync(descriptor, beat, 0, 8, OFFSET);
  closeSync(descriptor);
  return beat[0] ?? 0;
}

test('beats go on while JavaScript does not, and keep no process alive', () => {
  const path = join(folder, 'process');
  // Never gives its thread up, until it has seen the time move on three times.
  const program = `${BEATS} for (let seen = 0, before = 0; seen < 3; ) if (read() > before) { before = read(); seen += 1; }`;
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    env: { ...process.env, TEST_BEATS: path },
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(status, 0, stderr);
  assert.ok(Math.abs(Date.now() - lastBeat(path)) < 60_000);
});

test('those that a worker has started end with it', async () => {
  const path = join(folder, 'worker');
  const program = `${BEATS} while (read() === 0); (await import('node:worker_threads')).parentPort.postMessage('beats'); setInterval(() => 0, 1e6);`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`), {
    env: { ...process.env, TEST_BEATS: path },
  });
  await new Promise((resolve, reject) => {
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  await worker.terminate();
  const last = lastBeat(path);
  assert.ok(last > 0);
  // Many times the interval.
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(lastBeat(path), last);
});
