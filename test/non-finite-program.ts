import { createHash } from 'node:crypto';
import { join } from 'node:path';
import type { ProcessGroup } from '../src/comm/process-group.js';
import type { UserConfig } from '../src/engine/config.js';
import type { Engine } from '../src/engine/engine.js';
import { buildEngine } from '../src/engine/initialize.js';
import type { NonFiniteStep } from '../src/engine/non-finite/guard.js';
import { resolveConfig, TrainyardError } from '../src/index.js';
import { scope } from '../src/tensor/tensor.js';
import { keptOpen } from './kept-open.js';
import { joinAsRank, type RankPlace, worldOf } from './rank-world.js';
import { TRAPPED_MODEL, TRAPS } from './trapped-model.js';

const STAGES = [0, 2, 3] as const;
const ROWS = 2;
const LENGTH = 6;

/** What one rank saw of a stage of ZeRO. */
export interface NonFiniteRank {
  readonly stage: (typeof STAGES)[number];
  /** Of the two steps with a trap on rank 1: in the output of a block, in a gradient. */
  readonly skipped: readonly (NonFiniteStep | undefined)[];
  /** Of the weights: before and after those steps, and at the end. */
  readonly before: string;
  readonly after: string;
  readonly end: string;
  /** Those of a run that has never seen these batches. */
  readonly twin: string;
  /** Why the run stops at a weight that is not finite, and after how many steps. */
  readonly stop: { readonly what: string; readonly where: string; readonly got: string };
  readonly steps: number;
}

/** One rank of the test of steps that are not finite: its argument is a folder. */
export function run(place: RankPlace, [folder = '']: readonly string[]): readonly NonFiniteRank[] {
  const { worldSize, rank } = place;
  const { group } = joinAsRank(resolveConfig({ train_batch_size: worldSize }, { worldSize }), place);
  const seen = STAGES.map((stage) => onStage(keptOpen(group), rank, folder, stage));
  group.close();
  return seen;
}

function onStage(
  group: ProcessGroup,
  rank: number,
  folder: string,
  stage: (typeof STAGES)[number],
): NonFiniteRank {
  const engine = open(group, stage, {
    output: join(folder, `stage-${stage}`),
    non_finite: { action: 'skip', limit: 2 },
  });
  const batch = (step: number, token?: number) => batchOf(rank, step, token);
  engine.trainBatch(batch(0));
  const before = digest(engine);
  const skipped = [TRAPS.output, TRAPS.gradient].map(
    (token) => engine.trainBatch(batch(9, rank === 1 ? token : undefined)).nonFinite,
  );
  const after = digest(engine);
  engine.trainBatch(batch(1));
  const end = digest(engine);
  // The last rank owns the last of a block's weights.
  engine.gathered(['layers.1.narrow.weight'], (tensors) => {
    scope(() => tensors.get('layers.1.narrow.weight')?.select(0, 11).select(0, 3).mul_(Number.NaN));
  });
  const stop = reportOf(() => {
    while (engine.steps < 20) engine.trainBatch(batch(2));
  });
  const { steps } = engine;
  engine.close();

  const other = open(group, stage, {});
  other.trainBatch(batch(0));
  other.trainBatch(batch(1));
  const twin = digest(other);
  other.close();
  return { stage, skipped, before, after, end, twin, stop, steps };
}

function open(group: ProcessGroup, stage: (typeof STAGES)[number], keys: UserConfig): Engine {
  const config = resolveConfig(
    {
      train_micro_batch_size_per_gpu: ROWS,
      gradient_accumulation_steps: 2,
      optimizer: { type: 'AdamW', params: { lr: 1e-2 } },
      gradient_clipping: 1,
      zero_optimization: { stage },
      ...keys,
    },
    { worldSize: group.worldSize },
  );
  return buildEngine({
    config,
    source: { model: TRAPPED_MODEL },
    world: worldOf(group),
    sequenceLength: LENGTH,
  });
}

function batchOf(rank: number, step: number, token?: number) {
  const inputIds = Array.from({ length: 2 * ROWS }, (_, row) =>
    Array.from({ length: LENGTH }, (_, at) => (7 * step + 5 * row + 3 * at + 11 * rank) % 35),
  );
  // In the second micro-batch.
  if (token !== undefined) inputIds[2]?.splice(3, 1, token);
  return { inputIds };
}

function digest(engine: Engine): string {
  return engine.gathered(engine.parameterNames, (tensors) => {
    const hash = createHash('sha256');
    for (const [, tensor] of tensors) hash.update(tensor.contiguous().toBytes());
    return hash.digest('hex');
  });
}

function reportOf(body: () => void): NonFiniteRank['stop'] {
  try {
    body();
  } catch (error) {
    if (!(error instanceof TrainyardError)) throw error;
    const { what, where = '', got = '' } = error.report;
    return { what: `${error.code}: ${what}`, where, got };
  }
  throw new Error('the run did not stop');
}
