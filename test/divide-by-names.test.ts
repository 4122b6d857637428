import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import type { MeshRun } from './mesh-program.js';
import { runRanks } from './run-ranks.js';

const RULES = [
  { patterns: ['\\.widen\\.'], partition_type: 'column' },
  { patterns: ['narrow\\.weight$'], partition_type: 'row' },
  { patterns: ['^tokens', '^head'], partition_type: 'vocabulary' },
  { patterns: ['gain$'], partition_type: 'skip' },
] as const;

async function train(ranks: number, config: UserConfig): Promise<readonly MeshRun[]> {
  const whole: UserConfig = {
    train_batch_size: 4,
    gradient_clipping: 1,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    ...config,
  };
  return runRanks<MeshRun>('mesh-program.js', ranks, [
    JSON.stringify(whole),
    JSON.stringify({ ownModel: true }),
  ]);
}

test("a model of one's own is divided by the names of its parameters, and learns the same", async () => {
  const [alone] = await train(1, {});
  assert.ok(alone);
  const partition_config = { layer_specs: RULES, strict_mode: true };
  const meshes: readonly (readonly [number, UserConfig])[] = [
    [2, { mesh: { tensor: 2 }, tensor_parallel: { partition_config } }],
    [
      4,
      {
        mesh: { pipeline: 2 },
        tensor_parallel: { autotp_size: 2, partition_config: { layer_specs: RULES } },
      },
    ],
  ];
  for (const [ranks, config] of meshes) {
    for (const run of await train(ranks, config)) {
      assert.equal(run.atStart, alone.atStart);
      assert.ok((run.sent.tensor ?? 0) > 0);
      for (const [step, loss] of run.losses.entries()) {
        assert.ok(Math.abs(loss / (alone.losses[step] ?? 0) - 1) < 1e-5, `${loss} in step ${step}`);
        assert.ok(Math.abs((run.norms[step] ?? 0) / (alone.norms[step] ?? 0) - 1) < 1e-4);
      }
    }
  }
});
