import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadCheckpoint } from '../src/store/checkpoint.js';

// Kills a process at every system call that one save makes, by strace: `node dist/test/checkpoint-syscalls.js`.
// What remains must be the old checkpoint or the new one, and the next save must work. With --errors, the call fails
// with an error of the disk instead.
//
//   --every N  only every N-th call

const { values } = parseArgs({
  options: { every: { type: 'string', default: '1' }, errors: { type: 'boolean', default: false } },
});
const PROGRAM = join(import.meta.dirname, 'checkpoint-syscalls-program.js');
/** What changes files. */
const CALLS = 'write,pwrite64,fsync,rename,mkdir,unlink,unlinkat,rmdir,openat,statfs';

if (spawnSync('strace', ['-V']).status !== 0) {
  process.stdout.write('skipped: there is no strace on this machine\n');
  process.exit(0);
}

const root = mkdtempSync(join(tmpdir(), 'trainyard-syscalls-'));
const before = join(root, 'before');
for (const step of ['1', '2']) assert.equal(save(before, step).status, 0);
const traced = spawnSync('strace', ['-e', `trace=${CALLS}`, process.execPath, PROGRAM, copy(), '3'], {
  encoding: 'utf8',
});
const isError = values.errors;
const all = callsOf(traced.stderr);
let [points, old, fresh, faults] = [0, 0, 0, 0];
for (const [index, { call, ordinal }] of all.entries()) {
  if (index % Number(values.every) !== 0) continue;
  const directory = copy();
  const how = `${isError ? 'error=EIO' : 'signal=KILL'}:when=${ordinal}`;
  const args = ['-qq', '-o', '/dev/null', '-e', `trace=${call}`, '-e', `inject=${call}:${how}`];
  spawnSync('strace', [...args, process.execPath, PROGRAM, directory, '3']);
  points += 1;
  try {
    const step = loadCheckpoint(directory)?.state.step;
    assert.ok(step === 2 || step === 3, `step ${step}`);
    if (step === 2) old += 1;
    else fresh += 1;
    assert.equal(save(directory, '3').status, 0, 'the next save');
    assert.equal(loadCheckpoint(directory)?.state.step, 3);
  } catch (error) {
    faults += 1;
    process.stdout.write(
      `FAULT at ${call} ${ordinal}: ${error instanceof Error ? error.message : String(error)}\n`,
    );
  }
}
rmSync(root, { recursive: true });
process.stdout.write(
  `${isError ? 'EIO' : 'killed'} at ${points} of ${all.length} system calls: ${old} times the old checkpoint, ${fresh} times the new one, ${faults} faults\n`,
);
process.exitCode = faults === 0 && points > 0 ? 0 : 1;

/** The calls from the first that touches the folder on, each with its number among those of its name. */
function callsOf(trace: string): readonly { readonly call: string; readonly ordinal: number }[] {
  const seen = new Map<string, number>();
  let hasBegun = false;
  return trace.split('\n').flatMap((line) => {
    const call = /^([a-z0-9]+)\(/.exec(line)?.[1];
    if (call === undefined) return [];
    const ordinal = (seen.get(call) ?? 0) + 1;
    seen.set(call, ordinal);
    hasBegun ||= line.includes(`${root}/`) && !line.includes('package.json');
    return hasBegun ? [{ call, ordinal }] : [];
  });
}

function save(directory: string, step: string): ReturnType<typeof spawnSync> {
  return spawnSync(process.execPath, [PROGRAM, directory, step], { encoding: 'utf8' });
}

function copy(): string {
  const directory = join(root, 'run');
  rmSync(directory, { recursive: true, force: true });
  cpSync(before, directory, { recursive: true });
  return directory;
}
