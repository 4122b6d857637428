/**
 * A rank without a tensor in it: does to its supervisor whatever its argument, a JSON object, says for its
 * rank. Started by the launcher's tests as a real process.
 */
import { spawn } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isErrorCode } from '../src/base/error-codes.js';
import { TrainyardError } from '../src/base/errors.js';
import { rankEnvironment } from '../src/launch/environment.js';
import { runRank } from '../src/launch/rank.js';
import { openRankChannel } from '../src/launch/rank-channel.js';
import { FOLDER_VARIABLE, type RankScript } from './launch-rank-script.js';

const environment = rankEnvironment(process.env);
const sink = openRankChannel(process.env);
if (environment === undefined || sink === undefined)
  throw new Error('this program is a rank: start it with supervise()');
const { rank, worldSize } = environment;
const folder = process.env[FOLDER_VARIABLE] ?? '.';
const script = JSON.parse(process.argv[2] ?? '{}') as RankScript;
const task = script[String(rank)] ?? 'train';
note('pid', String(process.pid));
const { TRAINYARD_TEST_STRANGE: strange } = process.env;
note(
  'told',
  JSON.stringify({ ...environment, arguments: process.argv.slice(3), folder: process.cwd(), strange }),
);

if (task === 'no-frame') process.exit(3);

await runRank({
  environment,
  sink,
  leave: (exitCode) => process.exit(exitCode),
  run: async (signal) => {
    if (rank === 0) {
      sink({ event: 'start', world_size: worldSize, parameters: 10, steps: 5, first_step: 1, device: 'cpu' });
    }
    await train(task === 'train-for-ever' ? Number.POSITIVE_INFINITY : 5, signal);
    if (signal.aborted) note('saved', 'yes');
  },
});

async function train(steps: number, signal: AbortSignal): Promise<void> {
  for (let step = 1; step <= steps && !signal.aborted; step++) {
    sink?.({ event: 'section', step, instruction: 'forward block.0 micro 0' });
    if (step === 3) {
      await everyRankIsHere(signal);
      await misbehave();
    }
    await sleep(5);
    sink?.({
      event: 'step',
      step,
      loss: 1 / step,
      grad_norm: Number.NaN,
      learning_rate: 0.1,
      tokens: 8,
      tokens_per_second: 800,
      step_ms: 10,
      skipped: false,
    });
  }
}

/** Nobody misbehaves before all have come to the same step, so that tests do not depend on who is faster. */
async function everyRankIsHere(signal: AbortSignal): Promise<void> {
  note('here', 'yes');
  const others = Array.from({ length: worldSize }, (_, other) => join(folder, `here-${other}`));
  while (!signal.aborted && !others.every((path) => existsSync(path))) await sleep(5);
}

async function misbehave(): Promise<void> {
  switch (task) {
    case 'throw':
      throw new Error('the data ran out');
    case 'reject':
      void Promise.reject(new Error('nobody waited for this'));
      return sleep(60_000);
    case 'exit-3':
      return process.exit(3);
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      return sleep(60_000);
    case 'segfault':
      process.kill(process.pid, 'SIGSEGV');
      return sleep(60_000);
    case 'stubborn':
      process.removeAllListeners('SIGTERM');
      process.on('SIGTERM', () => note('ignored', 'SIGTERM'));
      return sleep(60_000);
    case 'blocked':
      note('blocked', 'yes');
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
      return;
    case 'flood':
      for (let line = 0; line < 200_000; line++) process.stdout.write(`line ${line} of very many\n`);
      return;
    case 'garbage':
      process.stdout.write(Buffer.from([0xff, 0xfe, 0x00, 0x1b, 0x5b, 0x33, 0x31, 0x6d, 0x41, 0x07, 0x0a]));
      process.stderr.write(Buffer.alloc(100_000, 0x80));
      return;
    case 'orphan': {
      const child = spawn('sleep', ['300'], { stdio: 'inherit' });
      note('child', String(child.pid));
      return sleep(60_000);
    }
    case 'train':
    case 'train-for-ever':
    case 'no-frame':
      return;
    default: {
      const code = task.slice('error-'.length);
      if (!isErrorCode(code)) throw new Error(`unknown task ${task}`);
      throw new TrainyardError(code, { what: `as told: ${code}`, where: 'here' });
    }
  }
}

function note(name: string, text: string): void {
  writeFileSync(join(folder, `${name}-${rank}`), text);
}
