import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type ResolvedConfig, resolveConfig, type UserConfig } from '../src/engine/config.js';
import type { Engine } from '../src/engine/engine.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { liveTensors } from '../src/tensor/tensor.js';
import { keptOpenWorld } from './kept-open.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

/** One run of a model: its steps, and where it is saved and taken up. */
export interface OffloadTask {
  readonly config: UserConfig;
  readonly steps: number;
  readonly save?: string;
  readonly load?: string;
}

/** What came out of it. */
export interface OffloadResult {
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly skipped: number;
  readonly overflow?: string;
  /** Of all final weights, to the last bit. */
  readonly weights: string;
}

const LENGTH = 12;
const VOCABULARY = 37;

/**
 * One rank of the tests of other tiers: its argument is a list of tasks as JSON, on one mesh; one result for each.
 */
export function run(place: RankPlace, [tasksText = '[]']: readonly string[]): readonly OffloadResult[] {
  const { worldSize } = place;
  const tasks = JSON.parse(tasksText) as readonly OffloadTask[];
  const joined = joinAsRank(resolveConfig(tasks[0]?.config ?? {}, { worldSize }), place);
  const world = keptOpenWorld(joined);
  const results = tasks.map(runTask);
  joined.group.close();
  return results;

  function runTask({ config: written, steps, save, load }: OffloadTask): OffloadResult {
    const config = resolveConfig(written, { worldSize, requires: ['model'] });
    const before = liveTensors();
    const engine = buildEngine({ config, source: openModel(config), world, sequenceLength: LENGTH });
    if (load !== undefined) assert.ok(engine.load(load));
    const [losses, norms]: [number[], number[]] = [[], []];
    let overflow: string | undefined;
    while (engine.steps < steps) {
      const result = engine.trainBatch({ inputIds: rowsOf(engine.steps, config) });
      losses.push(result.loss);
      norms.push(result.gradientNorm);
      overflow ??= result.overflow;
    }
    if (save !== undefined) engine.save(save);
    const weights = fingerprint(engine);
    const skipped = engine.skippedSteps;
    engine.close();
    assert.equal(liveTensors(), before, 'tensors leaked');
    return { losses, norms, skipped, ...(overflow && { overflow }), weights };
  }

  function rowsOf(step: number, config: ResolvedConfig): readonly (readonly number[])[] {
    const rows = config.train_micro_batch_size_per_gpu * config.gradient_accumulation_steps;
    const first = Math.floor(world.axes.data.rank / config.sequence_parallel_size) * rows;
    return Array.from({ length: rows }, (_, row) =>
      Array.from({ length: LENGTH }, (__, i) => ((first + row) * 11 + i * 5 + step) % VOCABULARY),
    );
  }

  function fingerprint(engine: Engine): string {
    const hash = createHash('sha256');
    for (const name of engine.parameterNames) {
      engine.gathered([name], (tensors) => void hash.update(tensors.get(name)?.toBytes() ?? ''));
    }
    return hash.digest('hex');
  }
}
