import assert from 'node:assert/strict';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import type { Engine } from '../src/engine/engine.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { joinAsRank, type RankPlace } from './rank-world.js';

const ROUNDS = 5;
const LENGTH = 6;

/**
 * One rank of the test of the outer optimizer: its argument is CONFIG, with an inner optimizer that moves nothing and a
 * synchronisation after every step. Before each the rank puts weights of its own into its replica; what comes of
 * the replicas of all, and what is said of their drift, is worked out here by the formulas of DiLoCo.
 */
export function run(place: RankPlace, [configText = '{}']: readonly string[]): readonly number[] {
  const { rank, worldSize } = place;
  const config = resolveConfig(JSON.parse(configText) as UserConfig, { worldSize, requires: ['model'] });
  const { redundancy } = config;
  assert.ok(redundancy?.type === 'local');
  const { outer } = redundancy;
  const { lr, momentum } = outer.type === 'nesterov' ? outer : { lr: 1, momentum: 0 };
  const source = openModel(config);
  const engine = buildEngine({ config, source, world: joinAsRank(config, place), sequenceLength: LENGTH });
  const rows = config.train_micro_batch_size_per_gpu;
  const inputIds = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: LENGTH }, (_, i) => (row + i) % 11),
  );

  let common = weightsOf(engine);
  let velocity = common.map(() => 0);
  for (let round = 1; round <= ROUNDS; round += 1) {
    const replicas = Array.from({ length: worldSize }, (_, of) =>
      // As they are in memory.
      [...Float32Array.from(common, (value, index) => value + shift(of, round, index))],
    );
    write(engine, replicas[rank] ?? []);
    const { drift, stopAsked } = engine.trainStep(
      () => ({
        inputIds: BigInt64Array.from(inputIds.flat(), BigInt),
        labels: BigInt64Array.from(inputIds.flat(), BigInt),
        rows,
        length: LENGTH,
        targetTokens: rows * LENGTH,
        sampleIndexes: [],
      }),
      { votesToStop: round === ROUNDS && rank === worldSize - 1 },
    );
    assert.equal(stopAsked, round === ROUNDS, 'a vote reaches all with the synchronisation');
    const mean = common.map((_, index) => average(replicas.map((values) => values[index] ?? 0)));
    const drifts = replicas.map(
      (values) => norm(values.map((value, i) => value - (mean[i] ?? 0))) / norm(mean),
    );
    assert.ok(drift);
    near([drift.mean, drift.max], [average(drifts), Math.max(...drifts)], 1e-4);
    const difference = common.map((value, index) => value - (mean[index] ?? 0));
    velocity = velocity.map((value, index) => momentum * value + (difference[index] ?? 0));
    const direction = difference.map((value, index) => value + momentum * (velocity[index] ?? 0));
    const expected = common.map((value, index) => value - lr * (direction[index] ?? 0));
    common = weightsOf(engine);
    near(common, expected, 2e-6);
  }
  engine.close();
  return common;
}

/** Like noise, the same on all ranks for any of them. */
function shift(rank: number, round: number, index: number): number {
  return Math.sin(rank * 12.9898 + round * 78.233 + index * 37.719) * 0.1;
}

function weightsOf(engine: Engine): readonly number[] {
  return engine.parameterNames.flatMap((name) =>
    engine.gathered([name], (tensors) => [...(tensors.get(name)?.flatten().toArray() ?? [])]),
  );
}

function write(engine: Engine, values: readonly number[]): void {
  let offset = 0;
  for (const name of engine.parameterNames) {
    engine.gathered([name], (tensors) => {
      const target = tensors.get(name);
      assert.ok(target);
      const flat = target.view([-1]);
      for (let index = 0; index < flat.elements; index += 1)
        flat.select(0, index).fill_(values[offset + index] ?? 0);
      offset += flat.elements;
    });
  }
}

function average(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function norm(values: readonly number[]): number {
  return Math.hypot(...values);
}

function near(got: readonly number[], expected: readonly number[], tolerance: number): void {
  assert.equal(got.length, expected.length);
  for (const [index, value] of got.entries()) {
    const wanted = expected[index] ?? Number.NaN;
    assert.ok(
      Math.abs(value - wanted) <= tolerance * Math.max(1, Math.abs(wanted)),
      `${index}: ${value} for ${wanted}`,
    );
  }
}
