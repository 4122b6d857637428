import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { TrainyardError } from '../src/base/errors.js';
import { compileStep } from '../src/engine/compile-step.js';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { type ModelSource, openModel } from '../src/engine/model-source.js';
import type { OptimizerPhase } from '../src/engine/optimizer-phase.js';
import { fullName, planFlatLayout } from '../src/nn/flat-layout.js';
import { liveTensors, type Tensor } from '../src/tensor/tensor.js';
import { PLAIN_MODEL } from './plain-model.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

/** What to do beside training. */
export interface ZeroTask {
  /** Where to save after the second step. */
  readonly save?: string;
  readonly load?: string;
  /** Of the second step, for its prediction; left out: warm-up. */
  readonly phase?: OptimizerPhase;
  /** Left out: all are on one host. */
  readonly ranksPerHost?: number;
}

/** What a rank has to tell. */
export interface ZeroOutcome {
  /** Bytes of the second step. */
  readonly sent: number;
  /** Of those, to the neighbours from the second copy. */
  readonly sentFromCopy: number;
  /** What the program says of them. */
  readonly predicted: number;
  readonly optimizerBytes: number;
  /** In which gradients travel. */
  readonly messages: number;
  /** Elements of every block, padding included. */
  readonly lengths: readonly number[];
  /** A fingerprint of all parameters, to the last bit. */
  readonly atStart: string;
  readonly atEnd: string;
}

/**
 * One rank of the tests of ZeRO: its arguments are CONFIG TASK, where CONFIG and TASK are JSON.
 * Trains three steps, or those that a checkpoint lacks of three, and asserts on the way what must hold on every rank.
 */
export function run(place: RankPlace, [configText = '{}', taskText = '{}']: readonly string[]): ZeroOutcome {
  const { rank, worldSize } = place;
  const written = JSON.parse(configText) as UserConfig;
  const VOCABULARY = 37;
  const LENGTH = 12;
  const task = JSON.parse(taskText) as ZeroTask;

  const config = resolveConfig(written, { worldSize });
  const source: ModelSource =
    config.model === undefined ? { model: PLAIN_MODEL } : openModel({ ...config, model: config.model });
  const world = joinAsRank(config, place, task.ranksPerHost);
  const engine = buildEngine({ config, source, world, sequenceLength: LENGTH });

  const rows = config.train_batch_size / worldSize;
  const batch = (step: number) => ({
    inputIds: Array.from({ length: rows }, (_, row) =>
      Array.from({ length: LENGTH }, (_, i) => ((rank * rows + row) * 11 + i * 5 + step) % VOCABULARY),
    ),
  });
  const loaded = task.load === undefined ? undefined : engine.load(task.load);
  const atStart = fingerprint();
  let [handles, sent, sentFromCopy] = [0, 0, 0];
  for (let step = engine.steps; step < 3; step += 1) {
    const copyBefore = world.axes.secondary?.exchangedBytes ?? 0;
    const { exchangedBytes } = engine.trainBatch(batch(step));
    if (step === 1) {
      sent = exchangedBytes;
      sentFromCopy = (world.axes.secondary?.exchangedBytes ?? 0) - copyBefore;
      handles = liveTensors();
      if (task.save !== undefined) engine.save(task.save);
    }
  }
  if (loaded === undefined) assert.equal(liveTensors(), handles, 'tensors leaked');
  const atEnd = fingerprint();

  const layout = planFlatLayout(source.model.blocks, undefined, worldSize);
  const { reports } = compileStep({
    config,
    model: source.model,
    layout,
    goal: 'update',
    sequenceLength: LENGTH,
    ...(world.hosts && { hosts: world.hosts }),
    ...(task.phase && { phase: task.phase }),
  });
  const predicted =
    reports[rank]?.collectives.reduce((sum, { sentBytes }) => sum + sentBytes, 0) ?? Number.NaN;
  const optimizerBytes = engine.optimizerStateBytes;
  const messages = engine.program.buckets.length;

  // What is written inside `gathered` is what every rank reads afterwards, and nothing else has changed.
  const trained = layout.blocks.map((slots) => slots.filter(({ trainable }) => trainable));
  const [first = '', second = ''] = trained.flatMap((slots) => slots.slice(-1)).map(({ owner }) => owner);
  const before = engine.gathered([first, second], (tensors) => {
    const values = [...tensors.values()].map((tensor) => tensor.toArray());
    get(tensors, first).mul_(2);
    return values;
  });
  engine.gathered([first, second], (tensors) => {
    assert.deepEqual(
      get(tensors, first).toArray(),
      before[0]?.map((value) => value * 2),
    );
    assert.deepEqual(get(tensors, second).toArray(), before[1]);
  });

  // A change inside would be undone by what is written back at the end.
  for (const inside of [() => engine.gathered([second], () => {}), () => engine.trainBatch(batch(0))]) {
    assert.throws(
      () => engine.gathered([first], inside),
      (error) => error instanceof TrainyardError && /inside engine\.gathered/.test(error.message),
    );
  }
  assert.throws(
    () => engine.gathered([first], async () => {}),
    (error) => error instanceof TrainyardError && error.code === 'USAGE',
  );

  const block = trained.findIndex((slots) => slots.length > 0);
  if (config.zero_optimization.stage > 0 && worldSize > 1) {
    assert.throws(
      () => engine.parameters[block]?.get(trained[block]?.[0]?.localName ?? ''),
      (error) => error instanceof TrainyardError && error.code === 'PARAMETER_RELEASED',
    );
  }
  const frozen = layout.blocks.flat().find(({ trainable }) => !trainable)?.owner;
  if (frozen !== undefined) {
    assert.throws(
      () => engine.gathered([frozen], (tensors) => void get(tensors, frozen).zero_()),
      (error) => error instanceof TrainyardError && error.code === 'TENSOR_CONSTANT',
    );
  }
  engine.close();
  return {
    sent,
    sentFromCopy,
    predicted,
    optimizerBytes,
    messages,
    lengths: layout.ranges.map(({ start, end }) => end - start),
    atStart,
    atEnd,
  };

  /** Of all parameters, to the last bit. */
  function fingerprint(): string {
    const hash = createHash('sha256');
    const names = source.model.blocks.flatMap((block) =>
      block.parameters.flatMap(({ name, tiedTo }) => (tiedTo === undefined ? [fullName(block, name)] : [])),
    );
    for (const name of names) {
      engine.gathered([name], (tensors) => void hash.update(get(tensors, name).toBytes()));
    }
    return hash.digest('hex');
  }

  function get(tensors: ReadonlyMap<string, Tensor>, name: string): Tensor {
    const tensor = tensors.get(name);
    assert.ok(tensor, `${name} was not gathered`);
    return tensor;
  }
}
