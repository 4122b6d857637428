import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { StepEvent } from '../src/launch/events.js';

const MAIN = fileURLToPath(new URL('../src/cli/main.js', import.meta.url));
const MODEL = join(import.meta.dirname, '../../test/fixtures/models/llama-gqa-tied');
const folder = mkdtempSync(join(tmpdir(), 'trainyard-timeline-'));
after(() => rmSync(folder, { recursive: true, force: true }));

interface TraceEvent {
  readonly name: string;
  readonly cat?: string;
  readonly ph: string;
  readonly pid: number;
  readonly ts?: number;
  readonly dur?: number;
}

function train(timeline: string): {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
} {
  const data = join(folder, 'tokens.jsonl');
  const ids = Array.from({ length: 32 }, (_, position) => position);
  writeFileSync(data, `${JSON.stringify({ input_ids: ids })}\n`.repeat(20));
  const config = join(folder, 'config.json');
  writeFileSync(
    config,
    JSON.stringify({
      model: MODEL,
      data: { path: data, sequence_length: 16 },
      steps: 3,
      train_batch_size: 4,
      optimizer: { type: 'AdamW', params: { lr: 1e-2 } },
      zero_optimization: { stage: 2 },
    }),
  );
  const parameters = ['train', config, '--ranks', '2', '--json', '--timeline', timeline];
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, ...parameters], {
    encoding: 'utf8',
    env: { ...process.env, OMP_NUM_THREADS: '1' },
  });
  return { status, out: stdout, err: stderr };
}

test('a run reports what communication cost, and draws what both ranks did in its last step', () => {
  const file = join(folder, 'made/timeline.json');
  const { status, out, err } = train(file);
  assert.equal(status, 0, err);
  const steps = out
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as StepEvent)
    .filter(({ event }) => event === 'step');
  assert.equal(steps.length, 3);
  for (const { step_ms: step, exposed_communication_ms: exposed = Number.NaN } of steps) {
    assert(exposed > 0 && exposed < step, `${exposed} of ${step} ms`);
  }

  const { traceEvents } = JSON.parse(readFileSync(file, 'utf8')) as { traceEvents: readonly TraceEvent[] };
  for (const rank of [0, 1]) {
    const own = traceEvents.filter(({ pid, ph }) => pid === rank && ph !== 'M');
    const computed = own.filter(({ cat }) => cat === 'compute').map(({ name }) => name);
    assert(
      computed.includes('step') && computed.some((name) => name.startsWith('backward ')),
      computed.join(),
    );
    const begun = own.filter(({ cat, ph }) => cat === 'communication' && ph === 'b');
    assert(
      begun.some(({ name }) => name.startsWith('scatter ')),
      JSON.stringify(begun),
    );
    assert.equal(own.filter(({ ph }) => ph === 'e').length, begun.length);
  }
  const starts = traceEvents.flatMap(({ ts }) => ts ?? []);
  assert.equal(Math.min(...starts), 0);
  // One step of both, on one clock: what the last one says of it bounds what is drawn.
  const last = steps.at(-1)?.step_ms ?? Number.NaN;
  const ends = traceEvents.map(({ pid, ts = 0, dur = 0 }) => (pid === 0 ? ts + dur : 0));
  assert(Math.max(...ends) / 1000 > last / 2, `${Math.max(...ends)} µs of ${last} ms`);
});

test('a place that cannot hold the timeline is told before any rank starts', () => {
  const { status, out, err } = train('/proc/nowhere/timeline.json');
  assert.equal(status, 2);
  assert.equal(out, '');
  assert.match(err, /--timeline/);
  assert(!existsSync('/proc/nowhere'));
});
