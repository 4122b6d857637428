import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileStep } from '../src/engine/compile-step.js';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import type { Engine } from '../src/engine/engine.js';
import { generateText } from '../src/engine/generate.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { loadTokenizer } from '../src/index.js';
import { planFlatLayout } from '../src/nn/flat-layout.js';
import { liveTensors } from '../src/tensor/tensor.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

const LENGTH = 12;

/** What one rank of the tests of replicas is to do. */
export interface ReplicaTask {
  /** The number of the last step. */
  readonly steps: number;
  /** Folder of checkpoints, and the step after which one is saved. */
  readonly save?: { readonly folder: string; readonly after: number };
  readonly load?: string;
  /** The one rank that works at the end, with the folder for what it makes. */
  readonly alone?: { readonly rank: number; readonly folder: string };
}

/** What a rank knows at the end. */
export interface ReplicaOutcome {
  readonly steps: readonly {
    readonly loss: number;
    readonly learningRate: number;
    readonly exchangedBytes: number;
    readonly skipped: boolean;
    readonly drift?: { readonly mean: number; readonly max: number };
    /** Of this rank's own weights. */
    readonly weights: string;
  }[];
  /** Of this rank's weights where a checkpoint was loaded. */
  readonly atStart: string;
  readonly notes: readonly string[];
  /** Bytes that the programs say of a step with a synchronisation, and of one without. */
  readonly predicted: { readonly meeting: number; readonly apart: number };
}

/** One rank of the tests of replicas: its arguments are CONFIG and a `ReplicaTask`, as JSON. */
export function run(
  place: RankPlace,
  [configText = '{}', taskText = '{}']: readonly string[],
): ReplicaOutcome {
  const { rank, worldSize } = place;
  const task = JSON.parse(taskText) as ReplicaTask;
  const config = resolveConfig(JSON.parse(configText) as UserConfig, { worldSize, requires: ['model'] });
  const source = openModel(config);
  const world = joinAsRank(config, place);
  const engine = buildEngine({ config, source, world, sequenceLength: LENGTH });
  const loaded = task.load === undefined ? undefined : engine.load(task.load);
  const atStart = fingerprint(engine);
  const rows = config.train_batch_size / worldSize;
  const batch = (step: number, size = rows) => ({
    inputIds: Array.from({ length: size }, (_, row) =>
      Array.from(
        { length: LENGTH },
        (_, i) => ((rank * rows + row) * 11 + i * 5 + step * step) % source.model.vocabularySize,
      ),
    ),
  });
  const steps: ReplicaOutcome['steps'][number][] = [];
  let handles = 0;
  while (engine.steps < task.steps) {
    const result = engine.trainBatch(batch(engine.steps));
    const { loss, learningRate, exchangedBytes, skipped, drift } = result;
    if (engine.steps === 2) handles = liveTensors();
    steps.push({
      loss,
      learningRate,
      exchangedBytes,
      skipped,
      weights: fingerprint(engine),
      ...(drift && { drift }),
    });
    if (engine.steps === task.save?.after) engine.save(task.save.folder);
  }
  if (loaded === undefined && task.alone === undefined)
    assert.equal(liveTensors(), handles, 'tensors leaked');
  if (task.alone !== undefined) workAlone(engine, rank, task.alone, () => batch(0, 2 * rows));
  const outcome: ReplicaOutcome = {
    steps,
    atStart,
    notes: loaded?.notes ?? [],
    predicted: { meeting: sentBytes(true), apart: sentBytes(false) },
  };
  engine.close();
  return outcome;

  function sentBytes(synchronizes: boolean): number {
    const { reports } = compileStep({
      config,
      model: source.model,
      layout: planFlatLayout(source.model.blocks, undefined, worldSize),
      goal: 'update',
      sequenceLength: LENGTH,
      synchronizes,
    });
    return Math.round(reports[rank]?.collectives.reduce((sum, { sentBytes: sent }) => sum + sent, 0) ?? 0);
  }
}

/** Of all trained parameters of this rank's replica, to the last bit. */
function fingerprint(engine: Engine): string {
  const hash = createHash('sha256');
  for (const name of engine.parameterNames) {
    engine.gathered([name], (tensors) => void hash.update(tensors.get(name)?.toBytes() ?? ''));
  }
  return hash.digest('hex');
}

/** One rank evaluates, exports and generates; the threads of all others are blocked until it is done. */
function workAlone(
  engine: Engine,
  rank: number,
  { rank: worker, folder }: NonNullable<ReplicaTask['alone']>,
  batch: () => Parameters<Engine['evaluate']>[0],
): void {
  const done = join(folder, 'done');
  if (rank !== worker) {
    const bell = new Int32Array(new SharedArrayBuffer(4));
    while (!existsSync(done)) Atomics.wait(bell, 0, 0, 20);
    return;
  }
  const loss = engine.evaluate(batch());
  assert.equal(engine.evaluate(batch()), loss, 'nothing changes');
  const model = join(folder, 'model');
  engine.exportModel(model, loadTokenizer('bytes', folder));
  const text = [...generateText({ modelPath: model, prompt: 'a', maximumTokens: 3, temperature: 0 })].join(
    '',
  );
  assert.equal(typeof text, 'string');
  writeFileSync(done, JSON.stringify({ loss }));
}
