import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { diffCheckpoints, type TensorDifference } from '../src/engine/checkpoint-tools/diff.js';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

const VOCABULARY = 37;
const LENGTH = 12;

/** What a set of ranks is to do, in the layout that it has. */
export interface LayoutTask {
  /** Train so many steps and save here. */
  readonly save?: string;
  /** Go on from each of these, and save again beside it. */
  readonly load: readonly string[];
  /** Of the folder that a loaded checkpoint is saved in again. */
  readonly name: string;
}

/** How a run stood after its checkpoint and went on from there. */
export interface LayoutRun {
  /** Of all parameters, gathered, to the last bit. */
  readonly weights: string;
  /** Of the steps after it. */
  readonly losses: readonly number[];
  /** Tensors that are other ones in the checkpoint that was saved again. */
  readonly differences: readonly TensorDifference[];
}

const STEPS = 2;
const NEXT = 2;

/** One rank of one layout: its arguments are CONFIG TASK, in JSON. The first run is the one that saved, if any. */
export function run(
  place: RankPlace,
  [configText = '{}', taskText = '{}']: readonly string[],
): readonly LayoutRun[] {
  const { save, load, name } = JSON.parse(taskText) as LayoutTask;
  const config = resolveConfig(JSON.parse(configText) as UserConfig, {
    worldSize: place.worldSize,
    requires: ['model'],
  });
  const world = joinAsRank(config, place);
  const engine = buildEngine({ config, source: openModel(config), world, sequenceLength: LENGTH });
  const rows = config.train_micro_batch_size_per_gpu * config.gradient_accumulation_steps;
  const first = Math.floor(world.axes.data.rank / config.sequence_parallel_size) * rows;
  const runs: LayoutRun[] = [];
  if (save !== undefined) {
    for (let step = 0; step < STEPS; step += 1) trainOne(step);
    engine.save(save);
    runs.push(goOn([]));
  }
  for (const from of load) {
    engine.load(from);
    const again = join(from, `again-${name}`);
    engine.save(again);
    engine.finishSave();
    runs.push(goOn(place.rank === 0 ? diffCheckpoints(from, again).tensors : []));
  }
  engine.close();
  return runs;

  function goOn(differences: readonly TensorDifference[]): LayoutRun {
    const hash = createHash('sha256');
    engine.gathered(engine.parameterNames, (tensors) => {
      for (const tensor of tensors.values()) hash.update(tensor.toBytes());
    });
    const losses = Array.from({ length: NEXT }, (_, index) => trainOne(STEPS + index));
    return { weights: hash.digest('hex'), losses, differences };
  }

  function trainOne(step: number): number {
    const inputIds = Array.from({ length: rows }, (_, row) =>
      Array.from({ length: LENGTH }, (__, i) => ((first + row) * 11 + i * 5 + step) % VOCABULARY),
    );
    return engine.trainBatch({ inputIds }).loss;
  }
}
