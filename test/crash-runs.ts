import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RankEvent } from '../src/launch/events.js';
import { freePort } from '../src/launch/free-port.js';
import type { CrashRankTask } from './crash-rank.js';

const RANK = join(import.meta.dirname, 'crash-rank.js');
/** Of a rank whose run was killed between its last checkpoint and its end. */
const ALREADY_DONE = 3;
const STEPS = 12;
const INTERVAL = 3;

/** A run that is killed again and again. */
export interface CrashSetup {
  readonly stage: 0 | 1 | 2 | 3;
  readonly ranks: 2 | 4;
  readonly decoupled: boolean;
  /** For the data and all that the run writes. */
  readonly folder: string;
}

/** What became of a run to its end. */
interface FinishedRun {
  /** Of every step the loss and the norm of the gradients, as they were said last. */
  readonly steps: ReadonlyMap<number, string>;
  /** Of the model that it wrote. */
  readonly weights: string;
  /** How often it was killed before its end. */
  readonly kills: number;
  /** How many steps were done again after a kill, at most. */
  readonly mostLost: number;
}

/** A process that waits for a task, as soon as it has loaded everything. */
interface SpareRank {
  readonly child: ChildProcess;
  readonly loaded: Promise<unknown>;
}

/** Processes that have loaded everything and wait for a task. */
export class SpareRanks {
  readonly #waiting: SpareRank[] = [];

  /** Starts so many, beside whatever goes on. */
  prepare(count: number): void {
    while (this.#waiting.length < count) this.#waiting.push(start());
  }

  /** So many, once all of them could begin at once. */
  async take(count: number): Promise<readonly ChildProcess[]> {
    this.prepare(count);
    const taken = this.#waiting.splice(0, count);
    await Promise.all(taken.map(({ loaded }) => loaded));
    return taken.map(({ child }) => child);
  }

  end(): void {
    for (const { child } of this.#waiting.splice(0)) child.kill('SIGKILL');
  }
}

function start(): SpareRank {
  const env = { ...process.env, OMP_NUM_THREADS: '1' };
  const child = fork(RANK, { env, execArgv: [], stdio: ['ignore', 'ignore', 'ignore', 'ipc'] });
  return { child, loaded: Promise.race([once(child, 'message'), once(child, 'exit')]) };
}

function overridesOf({ stage, decoupled, folder }: CrashSetup, output: string): readonly string[] {
  const model = {
    architecture: 'gpt2',
    vocab_size: 256,
    n_embd: 16,
    n_layer: 2,
    n_head: 2,
    n_positions: 32,
    resid_pdrop: 0.1,
  };
  const zero = { stage, ...(stage === 3 && { stage3_param_persistence_threshold: 0 }) };
  const checkpoint = { interval: INTERVAL, keep: 2, writer: { decoupled } };
  return [
    `model=${JSON.stringify(model)}`,
    `data=${JSON.stringify({ path: join(folder, 'text.txt'), tokenizer: 'bytes', sequence_length: 16, shuffle: true, pack: true })}`,
    `steps=${STEPS}`,
    'train_batch_size=8',
    `output=${output}`,
    `zero_optimization=${JSON.stringify(zero)}`,
    `checkpoint=${JSON.stringify(checkpoint)}`,
    'communication.timeout_seconds=20',
  ];
}

/** What so many kills showed, over as many runs as it took. */
export interface KilledRuns {
  readonly runs: number;
  readonly kills: number;
  readonly mostLost: number;
}

/**
 * Trains once without harm, and then again and again while ranks are killed, until that has happened so many times: every
 * run must be the one that nobody killed, to the last bit.
 */
export async function compareWithKills(
  setup: CrashSetup,
  spares: SpareRanks,
  kills: number,
  chance: () => number,
): Promise<KilledRuns> {
  const whole = await runWithKills({ setup, spares, name: 'whole', kills: 0, chance, expectMs: 0 });
  let [runs, killed, mostLost] = [0, 0, 0];
  while (killed < kills) {
    const name = `run-${runs}`;
    const left = kills - killed;
    const run = await runWithKills({
      setup,
      spares,
      name,
      kills: left,
      chance,
      expectMs: whole.milliseconds,
    });
    assert.deepEqual(run.steps, whole.steps);
    assert.equal(run.weights, whole.weights, 'the weights at the end');
    runs += 1;
    killed += run.kills;
    mostLost = Math.max(mostLost, run.mostLost);
  }
  return { runs, kills: killed, mostLost };
}

interface KillingOptions {
  readonly setup: CrashSetup;
  readonly spares: SpareRanks;
  readonly name: string;
  /** At most. */
  readonly kills: number;
  readonly chance: () => number;
  /** How long a run takes that nobody kills. */
  readonly expectMs: number;
}

/** Trains to the end, and kills a rank before, each time after a while that `chance` decides. */
async function runWithKills({
  setup,
  spares,
  name,
  kills,
  chance,
  expectMs,
}: KillingOptions): Promise<FinishedRun & { readonly milliseconds: number }> {
  const output = join(setup.folder, `zero${setup.stage}x${setup.ranks}-${name}`);
  const steps = new Map<number, string>();
  let [acknowledged, mostLost, killed, milliseconds] = [0, 0, 0, 0];
  for (;;) {
    const before = steps.size === 0 ? 0 : Math.max(...steps.keys());
    let first: number | undefined;
    const hear = (event: RankEvent): void => {
      if (event.event === 'checkpoint') acknowledged = Math.max(acknowledged, event.step);
      if (event.event !== 'step') return;
      first ??= event.step;
      const said = `${event.loss} ${event.grad_norm}`;
      // A step that is done again is the same step.
      assert.equal(said, steps.get(event.step) ?? said, `step ${event.step} of ${JSON.stringify(setup)}`);
      steps.set(event.step, said);
    };
    const known = acknowledged;
    // From where it went on, so that all of a run is reached; a process costs more to start than half of a run.
    const killAfterMs = killed < kills ? (chance() * expectMs) / 2 : undefined;
    const victim = Math.floor(chance() * setup.ranks);
    const overrides = overridesOf(setup, output);
    const { isDone, ...took } = await runOnce(setup, spares, overrides, hear, { killAfterMs, victim });
    milliseconds += took.milliseconds;
    if (first !== undefined) {
      assert.ok(first > known, `went on at step ${first}, but step ${known} was acknowledged`);
      mostLost = Math.max(mostLost, before - first + 1);
    }
    if (isDone) break;
    killed += 1;
  }
  const weights = createHash('sha256')
    .update(readFileSync(join(output, 'model.safetensors')))
    .digest('hex');
  return { steps, weights, kills: killed, mostLost, milliseconds };
}

/** Starts all ranks: whether they came to the end, and how long it took from when they were told. */
async function runOnce(
  { ranks }: CrashSetup,
  spares: SpareRanks,
  overrides: readonly string[],
  hear: (event: RankEvent) => void,
  { killAfterMs, victim }: { readonly killAfterMs: number | undefined; readonly victim: number },
): Promise<{ readonly isDone: boolean; readonly milliseconds: number }> {
  const port = await freePort('127.0.0.1');
  const children = await spares.take(ranks);
  const beganMs = performance.now();
  const ends = children.map((child) => once(child, 'exit') as Promise<[number | null, string | null]>);
  for (const [rank, child] of children.entries()) {
    if (rank === 0) child.on('message', hear);
    child.send({ place: { rank, worldSize: ranks, port }, overrides } satisfies CrashRankTask);
  }
  spares.prepare(ranks);
  const over = new AbortController();
  if (killAfterMs !== undefined) {
    void killIn(killAfterMs, children, victim, over.signal);
  }
  const codes = await Promise.all(ends);
  over.abort();
  const isDone = [0, ALREADY_DONE].some((wanted) => codes.every(([code]) => code === wanted));
  return { isDone, milliseconds: performance.now() - beganMs };
}

/** How long the others may go on with what they are at, before they are stopped as a supervisor would. */
const SURVIVORS_MS = 50;

async function killIn(
  milliseconds: number,
  children: readonly ChildProcess[],
  victim: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal });
    children[victim]?.kill('SIGKILL');
    await sleep(SURVIVORS_MS, undefined, { signal });
    for (const child of children) child.kill('SIGKILL');
  } catch {
    // The run has come to its end before.
  }
}
