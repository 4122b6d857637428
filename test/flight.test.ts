import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { after, test } from 'node:test';
import { promisify } from 'node:util';
import { findCulprit } from '../src/comm/flight/find-culprit.js';
import { readFlightFolder } from '../src/comm/flight/flight-folder.js';
import { freePort } from '../src/launch/free-port.js';

const PROGRAM = join(import.meta.dirname, 'flight-program.js');
const execute = promisify(execFile);
const TRANSPORTS = ['gloo', 'shared-memory'] as const;

/** Long before this a rank that need not wait for the deadline has to end, and long after it should have. */
const AT_ONCE_MS = 30_000;
const LONG_MS = 120_000;

const running = new Set<ChildProcess>();
const folders: string[] = [];
after(() => {
  for (const child of running) child.kill('SIGKILL');
  for (const folder of folders) rmSync(folder, { recursive: true });
});

interface Fault {
  readonly scenario: string;
  readonly transport: (typeof TRANSPORTS)[number];
  readonly worldSize: number;
  readonly culprit: number;
  readonly timeoutMs: number;
}

interface Failure {
  readonly code?: string;
  readonly what: string;
  readonly where: string;
  readonly got: string;
  readonly cure: string;
  readonly waitedMs: number;
}

/** What a rank is said to be in that is not where the others are. */
const ALONE = {
  'other operation': /rank 1 in allGather .*evaluate/,
  'skips one': /rank 1 in .*bucket\.4/,
  'saves alone': /rank 1 in meet for a deadline of \d+ s .*save/,
} as const;

for (const transport of TRANSPORTS) {
  test(`a rank in another operation is named at once by all: ${transport}`, async () => {
    for (const scenario of ['other operation', 'skips one', 'saves alone'] as const) {
      const { failures, folder } = await run({
        scenario,
        transport,
        worldSize: 3,
        culprit: 1,
        timeoutMs: LONG_MS,
      });
      assert.equal(failures.length, 3);
      for (const { what, got, waitedMs } of failures) {
        assert.match(what, /not in the same operation/);
        const said = `${what} ${got}`;
        assert.match(said, /ranks 0, 2 in allReduce \(sum\) of float32 × 1003 .*step 7, reduce bucket\.3/);
        assert.match(said, ALONE[scenario]);
        assert(waitedMs < AT_ONCE_MS, `it took ${waitedMs} ms`);
      }
      assertCulprit(folder, 3, { kind: 'mismatch', ranks: [1], sequence: 4 });
    }
  });

  test(`a rank that sums another bucket of the same size is named, though nothing fails: ${transport}`, async () => {
    const fault = { scenario: 'other bucket', transport, worldSize: 3, culprit: 1, timeoutMs: LONG_MS };
    const { failures } = await run(fault);
    assert.equal(failures.length, 3);
    const named = failures.filter(({ what }) =>
      /Results so far are wrong: the ranks are not in the same/.test(what),
    );
    assert(named.length > 0, JSON.stringify(failures));
    // Records keep the last collectives: a rank that is early enough finds the one in them.
    for (const { got } of named)
      assert.match(
        got,
        /up to collective \d+, this rank's were others than those of rank \d|ranks 0, 2 in .*bucket\.3 start.*; rank 1 in .*bucket\.8 start/,
      );
    for (const { waitedMs } of failures) assert(waitedMs < AT_ONCE_MS, `it took ${waitedMs} ms`);
  });

  test(`ranks that summed different buckets at last are told when they part: ${transport}`, async () => {
    const fault = { scenario: 'other last bucket', transport, worldSize: 2, culprit: 1, timeoutMs: LONG_MS };
    const { failures, folder } = await run(fault);
    assert.equal(failures.length, 2);
    for (const { what, got } of failures) {
      assert.match(what, /Results so far are wrong: the ranks are not in the same operation/);
      assert.match(got, /rank 0 in .*bucket\.4 start.*rank 1 in .*bucket\.8 start/);
    }
    assertCulprit(folder, 2, { kind: 'mismatch', sequence: 5 });
  });

  test(`two ranks in different operations are both told: ${transport}`, async () => {
    const { failures } = await run({
      scenario: 'other operation',
      transport,
      worldSize: 2,
      culprit: 0,
      timeoutMs: LONG_MS,
    });
    assert.equal(failures.length, 2);
    for (const { what, got } of failures)
      assert.match(`${what} ${got}`, /rank 0 in allGather .*rank 1 in allReduce/);
  });

  test(`a rank that sleeps is named, by itself too: ${transport}`, async () => {
    const fault = { scenario: 'sleeps', transport, worldSize: 3, culprit: 1, timeoutMs: 2000 };
    const { failures, folder } = await run(fault);
    assert.equal(failures.length, 3);
    for (const [rank, { what, where }] of failures.entries()) {
      assert.match(
        what,
        rank === 1
          ? /Rank 1 came [\d.]+ s after the first to/
          : /not finished within 2 s\. Rank 1 left no word/,
      );
      assert.match(where, /collective 4: step 7, reduce bucket\.3 start/);
    }
    assertCulprit(folder, 3, { kind: 'late', ranks: [1] });
  });

  for (const culprit of [0, 2]) {
    test(`rank ${culprit} that has stopped is named at the deadline: ${transport}`, async () => {
      const { failures, folder } = await run({
        scenario: 'stops',
        transport,
        worldSize: 3,
        culprit,
        timeoutMs: 2000,
      });
      assert.equal(failures.length, 2);
      for (const { what, waitedMs } of failures) {
        assert.match(what, new RegExp(`Rank ${culprit}.* left no word`));
        assert(waitedMs < AT_ONCE_MS, `it took ${waitedMs} ms`);
      }
      assertCulprit(folder, 3, { kind: 'silent', ranks: [culprit] });
    });

    test(`rank ${culprit} that is killed is named at once: ${transport}`, async () => {
      const { failures, folder } = await run({
        scenario: 'is killed',
        transport,
        worldSize: 3,
        culprit,
        timeoutMs: LONG_MS,
      });
      assert.equal(failures.length, 2);
      for (const { what, waitedMs } of failures) {
        assert.match(what, new RegExp(`a peer is gone\\. Rank ${culprit}.* left no word`));
        assert(waitedMs < AT_ONCE_MS, `it took ${waitedMs} ms`);
      }
      assertCulprit(folder, 3, { kind: 'silent', ranks: [culprit] });
    });
  }
}

test('a rank that fails by itself tells the others why', async () => {
  const { failures, folder } = await run({
    scenario: 'fails otherwise',
    transport: 'gloo',
    worldSize: 4,
    culprit: 3,
    timeoutMs: LONG_MS,
  });
  assert.equal(failures.length, 3);
  for (const { what } of failures) assert.match(what, /Rank 3 failed: the data end in the middle of a line/);
  assertCulprit(folder, 4, { kind: 'failed', ranks: [3] });
  const doctor = join(import.meta.dirname, '../src/cli/main.js');
  const { stdout } = await execute(process.execPath, [doctor, 'doctor', '--flight', folder, '--json']);
  const { verdict, ranks } = JSON.parse(stdout) as { verdict: string; ranks: readonly unknown[] };
  assert.equal(verdict, 'Rank 3 failed: the data end in the middle of a line');
  assert.equal(ranks.length, 4);
});

/** Runs all ranks until each but one that has stopped has ended; returns what those that can speak said. */
async function run(
  fault: Fault,
): Promise<{ readonly failures: readonly Failure[]; readonly folder: string }> {
  const { scenario, transport, worldSize, culprit, timeoutMs } = fault;
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-flight-test-'));
  folders.push(folder);
  const port = await freePort('127.0.0.1');
  const children = Array.from({ length: worldSize }, (_, rank) => {
    const args = [scenario, transport, culprit, timeoutMs, folder, rank, worldSize, port].map(String);
    const child = spawn(process.execPath, ['--enable-source-maps', PROGRAM, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, OMP_NUM_THREADS: '1' },
    });
    running.add(child);
    return child;
  });
  const endings = children.map(ending);
  await Promise.all(endings.filter((_, rank) => scenario !== 'stops' || rank !== culprit));
  children[culprit]?.kill('SIGKILL');
  const outputs = await Promise.all(endings);
  const failures = outputs.flatMap((output) => (output === '' ? [] : [JSON.parse(output) as Failure]));
  for (const { code } of failures) assert.equal(code, 'COLLECTIVE_FAILED');
  return { failures, folder };
}

async function ending(child: ChildProcess): Promise<string> {
  assert(child.stdout !== null && child.stderr !== null);
  const [output] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  running.delete(child);
  return output;
}

/** The records that the ranks left name the same. */
function assertCulprit(folder: string, worldSize: number, expected: object): void {
  const { records, refused } = readFlightFolder(folder);
  assert.deepEqual(refused, []);
  const found = new Map<string, unknown>(Object.entries(findCulprit(records, worldSize) ?? {}));
  for (const [field, value] of Object.entries(expected)) assert.deepEqual(found.get(field), value, field);
}
