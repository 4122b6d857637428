import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import type { ProcessGroup } from '../../src/comm/process-group.js';
import { type ConfigWith, resolveConfig } from '../../src/engine/config.js';
import { buildEngine } from '../../src/engine/initialize.js';
import { closeMesh } from '../../src/engine/mesh-groups.js';
import { openModel } from '../../src/engine/model-source.js';
import { dataPlace, openTrainingData } from '../../src/engine/training-data.js';
import type { World } from '../../src/engine/world.js';
import { keptOpen } from '../kept-open.js';
import { type Expected, readJson } from '../models-harness.js';
import { joinAsRank, type RankPlace } from '../rank-world.js';
import type { MeshJob, MeshOutcome } from './mesh-jobs.js';

type JobConfig = ConfigWith<'model' | 'data' | 'steps'>;

/** One rank of one mesh: its argument is a list of jobs on it. Trains one after the other; the ranks meet once. */
export async function run(place: RankPlace, [jobsText = '[]']: readonly string[]): Promise<unknown> {
  const jobs = JSON.parse(jobsText) as readonly MeshJob[];
  const [first] = jobs;
  if (first === undefined) return [];
  const world = joinAsRank(configOf(first, place.worldSize), place);
  const kept = new KeptWorld(world);
  const outcomes: MeshOutcome[] = [];
  try {
    for (const job of jobs) outcomes.push(await train(job, kept.world, place));
  } catch (error) {
    // The others need not wait for this rank.
    world.flight?.fail(String(error));
    throw error;
  }
  kept.close();
  return outcomes;
}

async function train(job: MeshJob, world: World, place: RankPlace): Promise<MeshOutcome> {
  const { train: expected } = readJson<Expected>(job.folder, 'expected.json');
  const config = configOf(job, place.worldSize);
  const source = openModel(config);
  const { batches } = await openTrainingData(config, source, dataPlace(config, place));
  const { sequenceLength } = batches;
  const engine = buildEngine({ config, source, world, sequenceLength, warn: () => {} });
  let [lossError, normError] = [0, 0];
  for (const [step, loss] of expected.losses.entries()) {
    await turn();
    const { nextBatch } = engine;
    const result = engine.trainStep((micro) => batches.microBatch(nextBatch, micro), { votesToStop: false });
    lossError = Math.max(lossError, relative(result.loss, loss));
    normError = Math.max(normError, relative(result.gradientNorm, expected.grad_norms[step]));
  }
  engine.close();
  return { lossError, normError };
}

function configOf(
  { folder, mesh, stage, schedule, sequenceParallel }: MeshJob,
  worldSize: number,
): JobConfig {
  const { batch_size: rows, train } = readJson<Expected>(folder, 'expected.json');
  const { losses, lr, betas, eps, weight_decay, clip } = train;
  const { pipeline, data, tensor } = mesh;
  return resolveConfig(
    {
      model: folder,
      mesh: { pipeline, tensor, ...(sequenceParallel && { sequence_parallel: true }) },
      ...(pipeline > 1 && {
        pipeline: { schedule, ...(schedule === 'interleaved' && { chunks: 2 }), partition: 'uniform' },
      }),
      data: { path: join(folder, 'batches.jsonl') },
      steps: losses.length,
      train_batch_size: rows,
      gradient_accumulation_steps: rows / data,
      gradient_clipping: clip,
      optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
      zero_optimization: { stage, ...(stage === 3 && { stage3_param_persistence_threshold: 0 }) },
    },
    { worldSize, requires: ['model', 'data', 'steps'] },
  );
}

function relative(got: number, expected = Number.NaN): number {
  return Math.abs(got - expected) / Math.abs(expected);
}

/** A world whose groups stay when an engine is closed, for the next. */
class KeptWorld {
  readonly world: World;
  readonly #met: World;
  /** Those that engines have asked for, by their members: a name is met under once. */
  readonly #more = new Map<string, ProcessGroup>();

  constructor(met: World) {
    this.#met = met;
    const { group, axes } = met;
    const { pipeline, data, tensor, shard } = axes;
    const kept = new Map([group, pipeline, data, tensor, shard].map((each) => [each, keptOpen(each)]));
    const keptOf = (each: ProcessGroup): ProcessGroup => kept.get(each) ?? keptOpen(each);
    this.world = {
      ...met,
      group: keptOf(group),
      axes: {
        pipeline: keptOf(pipeline),
        data: keptOf(data),
        tensor: keptOf(tensor),
        shard: keptOf(shard),
      },
      among: (name, members) => keptOpen(this.#among(`${name} ${members.join('-')}`, members)),
    };
  }

  #among(name: string, members: readonly number[]): ProcessGroup {
    const group = this.#more.get(name) ?? this.#met.among(name, members);
    this.#more.set(name, group);
    return group;
  }

  close(): void {
    for (const group of this.#more.values()) group.close();
    closeMesh(this.#met.group, this.#met.axes);
  }
}
