import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Engine } from '../src/engine/engine.js';
import { initialize, TrainyardError, type UserConfig } from '../src/index.js';
import { tensor as makeTensor } from '../src/tensor/create.js';
import { liveTensors } from '../src/tensor/tensor.js';
import { ODD_MODEL } from './odd-model.js';
import type { OffloadResult, OffloadTask } from './offload-program.js';
import { runRanks } from './run-ranks.js';

const STEPS = 5;
const ROWS = 4;
const LENGTH = 12;
const VOCABULARY = ODD_MODEL.vocab_size;
const ADAM = { lr: 0.01, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1 } as const;

const COMMON = {
  model: ODD_MODEL,
  train_batch_size: ROWS,
  gradient_clipping: 0.5,
} as const satisfies UserConfig;

let root = '';
let disk = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-delayed-'));
  disk = join(root, 'nvme');
  mkdirSync(disk);
});
after(() => rmSync(root, { recursive: true }));

type Zero = NonNullable<UserConfig['zero_optimization']>;

function delayed(stage: 2 | 3, movesWeights: boolean, beside: UserConfig = {}): UserConfig {
  const files = { device: 'nvme', nvme_path: disk } as const;
  const zero: Zero = {
    stage,
    offload_optimizer: { ...files, overlap_step: true },
    ...(movesWeights && { offload_param: files }),
    ...(stage === 3 && { stage3_param_persistence_threshold: 0 }),
    sub_group_size: 2048,
  };
  return { ...COMMON, optimizer: { type: 'AdamW', params: ADAM }, zero_optimization: zero, ...beside };
}

/** The batches of `offload-program.ts`, of all ranks together. */
function batchOf(step: number): { readonly inputIds: readonly (readonly number[])[] } {
  return {
    inputIds: Array.from({ length: ROWS }, (_, row) =>
      Array.from({ length: LENGTH }, (_, i) => (row * 11 + i * 5 + step) % VOCABULARY),
    ),
  };
}

type Weights = ReadonlyMap<string, Float64Array>;

function read(engine: Engine): Weights {
  return engine.gathered(
    engine.parameterNames,
    (tensors) =>
      new Map([...tensors].map(([name, tensor]) => [name, Float64Array.from(tensor.view([-1]).toArray())])),
  );
}

/** Steps of an engine that only subtracts: so much that what is left of weights tells the gradients to the last digits. */
const SUBTRACTED = 2 ** 20;

interface Reference {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly weights: Weights;
}

/**
 * The mathematics as a plain loop: the gradient of step t is that at the weights after update t − 2, clipped by its own
 * norm, and update t adds it to the weights after update t − 1. Without a delay it is that at the latter.
 */
function plainLoop(delay: 0 | 1, steps: number): Reference {
  using engine = initialize({
    config: { ...COMMON, optimizer: { type: 'SGD', params: { lr: SUBTRACTED } } },
  });
  const history: Weights[] = [read(engine)];
  const moments = new Map([...(history[0] ?? [])].map(([name, { length }]) => [name, momentsOf(length)]));
  const [losses, norms]: [number[], number[]] = [[], []];
  for (let step = 1; step <= steps; step += 1) {
    const at = history[Math.max(0, step - 1 - delay)];
    const last = history.at(-1);
    assert.ok(at && last);
    write(engine, at);
    const { loss, gradientNorm } = engine.trainBatch(batchOf(step - 1));
    losses.push(loss);
    norms.push(gradientNorm);
    const after = read(engine);
    history.push(
      new Map(
        [...last].map(([name, weights]) => {
          const [from, to, own] = [at.get(name), after.get(name), moments.get(name)];
          assert.ok(from && to && own);
          const gradients = from.map((value, index) => (Math.fround(value) - (to[index] ?? 0)) / SUBTRACTED);
          return [name, adamW(weights, gradients, own, step)];
        }),
      ),
    );
  }
  const weights = history.at(-1);
  assert.ok(weights);
  return { losses, norms, weights };
}

function write(engine: Engine, weights: Weights): void {
  engine.gathered(engine.parameterNames, (tensors) => {
    for (const [name, tensor] of tensors) {
      const values = weights.get(name);
      assert.ok(values);
      tensor.view([-1]).copy_(makeTensor(Float32Array.from(values)));
    }
  });
}

interface Moments {
  readonly first: Float64Array;
  readonly second: Float64Array;
}

function momentsOf(length: number): Moments {
  return { first: new Float64Array(length), second: new Float64Array(length) };
}

function adamW(weights: Float64Array, gradients: Float64Array, { first, second }: Moments, step: number) {
  const { lr, betas, eps, weight_decay: decay } = ADAM;
  return weights.map((weight, index) => {
    const gradient = gradients[index] ?? 0;
    first[index] = betas[0] * (first[index] ?? 0) + (1 - betas[0]) * gradient;
    second[index] = betas[1] * (second[index] ?? 0) + (1 - betas[1]) * gradient ** 2;
    const mean = (first[index] ?? 0) / (1 - betas[0] ** step);
    const square = (second[index] ?? 0) / (1 - betas[1] ** step);
    return weight * (1 - lr * decay) - (lr * mean) / (Math.sqrt(square) + eps);
  });
}

function isClose(actual: readonly number[], expected: readonly number[], tolerance: number): boolean {
  return (
    actual.length === expected.length &&
    actual.every((value, index) => {
      const wanted = expected[index] ?? Number.NaN;
      return Math.abs(value - wanted) <= tolerance * Math.abs(wanted);
    })
  );
}

async function runTasks(ranks: number, tasks: readonly OffloadTask[]): Promise<readonly OffloadResult[]> {
  const results = await runRanks<readonly OffloadResult[]>('offload-program.js', ranks, [
    JSON.stringify(tasks),
  ]);
  const [first] = results;
  assert.ok(first);
  for (const other of results) assert.deepEqual(other, first);
  return first;
}

test('losses, norms and weights are those of a plain loop with gradients one update old', () => {
  const [expected, atOnce] = [plainLoop(1, STEPS), plainLoop(0, STEPS)];
  assert.ok(!isClose(expected.losses, atOnce.losses, 1e-3), 'the delay makes a difference');
  for (const config of [delayed(2, false), delayed(3, false), delayed(3, true)]) {
    using engine = initialize({ config });
    const steps = Array.from({ length: STEPS }, (_, step) => engine.trainBatch(batchOf(step)));
    const losses = steps.map(({ loss }) => loss);
    assert.ok(isClose(losses, expected.losses, 1e-5), `${losses} and not ${expected.losses}`);
    assert.ok(
      isClose(
        steps.map(({ gradientNorm }) => gradientNorm),
        expected.norms,
        1e-4,
      ),
    );
    // What the last step has left is made before anybody looks.
    for (const [name, values] of read(engine)) {
      const wanted = expected.weights.get(name);
      assert.ok(
        wanted?.every((value, index) => Math.abs(value - (values[index] ?? 0)) < 2e-5),
        name,
      );
    }
  }
});

test('on two ranks all tiers and stages come to the same bits, in every precision, overflows included', async () => {
  const precisions: readonly UserConfig[] = [
    {},
    { bf16: { enabled: true }, gradient_accumulation_steps: 2 },
    { fp16: { enabled: true, initial_scale_power: 20, hysteresis: 1 } },
  ];
  const tasks = precisions.flatMap((beside) =>
    ([delayed(2, false, beside), delayed(3, false, beside), delayed(3, true, beside)] as const).map(
      (config) => ({ config, steps: STEPS }),
    ),
  );
  const results = await runTasks(2, tasks);
  for (const [index, result] of results.entries()) {
    assert.deepEqual(result, results[index - (index % 3)], JSON.stringify(tasks[index]?.config));
  }
  const [fp32, , , , , , fp16] = results;
  assert.ok(fp32 && isClose(fp32.losses, plainLoop(1, STEPS).losses, 1e-5));
  assert.ok(fp16 && fp16.skipped > 0 && fp16.skipped < STEPS);
});

test('a save makes the update that is left first, and a run that goes on from there is the same', () => {
  const config = delayed(3, true);
  const checkpoints = join(root, 'checkpoints');
  const goOn = (engine: Engine): readonly number[] =>
    [2, 3].map((step) => engine.trainBatch(batchOf(step)).loss);
  const before = liveTensors();
  const saving = initialize({ config });
  const first = [0, 1].map((step) => saving.trainBatch(batchOf(step)).loss);
  saving.save(checkpoints);
  const losses = goOn(saving);
  assert.ok(isClose(first, plainLoop(1, 2).losses, 1e-5));
  const weights = read(saving);
  saving.close();

  const resumed = initialize({ config });
  // What this one has left is forgotten.
  resumed.trainBatch(batchOf(7));
  resumed.trainBatch(batchOf(8));
  assert.ok(resumed.load(checkpoints));
  assert.deepEqual(goOn(resumed), losses);
  assert.deepEqual(read(resumed), weights);
  resumed.close();

  // What is in the checkpoint are the weights after both updates, as another tier has them.
  const inMemory = initialize({ config: { ...COMMON, optimizer: { type: 'AdamW', params: ADAM } } });
  inMemory.load(checkpoints);
  const two = plainLoop(1, 2).weights;
  for (const [name, values] of read(inMemory)) {
    assert.ok(
      two.get(name)?.every((value, index) => Math.abs(value - (values[index] ?? 0)) < 2e-5),
      name,
    );
  }
  inMemory.close();
  assert.equal(liveTensors(), before);
  assert.deepEqual(readdirSync(disk), []);
});

test('a step that is not finite ends the run with its reason, while an update is left and weights are in files', () => {
  const optimizer = { type: 'AdamW', params: { ...ADAM, lr: 1e30 } } as const;
  const before = liveTensors();
  const engine = initialize({ config: delayed(3, true, { optimizer }) });
  // The weights that update 1 makes are those of step 3.
  for (const step of [0, 1]) engine.trainBatch(batchOf(step));
  assert.throws(
    () => engine.trainBatch(batchOf(2)),
    (error) => error instanceof TrainyardError && error.code === 'TRAINING_DIVERGED',
  );
  engine.close();
  assert.equal(liveTensors(), before);
});

test('what a delay and a ratio add to memory is what the ledger says', () => {
  const files = { device: 'nvme', nvme_path: disk } as const;
  const peaksWith = (
    stage: 2 | 3,
    states: object,
  ): { readonly measured: number; readonly predicted: number } => {
    // As many tiles of half of the state as of all of it.
    const offload_optimizer = { ...files, buffer_count: 3, ...states };
    const config: UserConfig = {
      ...COMMON,
      zero_optimization: { stage, offload_optimizer, sub_group_size: 2048 },
    };
    using engine = initialize({ config });
    for (const step of [0, 1, 2]) engine.trainBatch(batchOf(step));
    const [measured, predicted] = [engine.measuredPeakBytes()?.[0], engine.predictedPeaks()[0]];
    assert.ok(measured !== undefined && predicted);
    return { measured, predicted: predicted.bytes };
  };
  for (const stage of [2, 3] as const) {
    const without = peaksWith(stage, {});
    for (const states of [{ overlap_step: true }, { ratio: 0.5 }]) {
      const { measured, predicted } = peaksWith(stage, states);
      const [took, said] = [measured - without.measured, predicted - without.predicted];
      // Pages of files that a slice does not fill: four tensors in three tiles, where transfers are on their way.
      const pages = 'ratio' in states ? 0 : 4 * 3 * 4096;
      const isWithin = took <= said + 4096 && took >= said - pages - 4096;
      assert.ok(said > 20_000 && isWithin, `${took} bytes and not ${said}, stage ${stage}`);
    }
  }
});
