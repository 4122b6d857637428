import assert from 'node:assert/strict';
import { join } from 'node:path';
import type { LayoutRun, LayoutTask } from './checkpoint-layouts-program.js';
import { runRanks } from './run-ranks.js';

/** How many ranks, and what the configuration says of them. */
export interface Layout {
  readonly name: string;
  readonly ranks: number;
  readonly settings: Readonly<Record<string, unknown>>;
}

/** Nothing divides: vocabulary and hidden units are padded, and there are fewer heads of keys than ranks. */
const MODEL = {
  architecture: 'llama',
  vocab_size: 37,
  hidden_size: 24,
  intermediate_size: 27,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 6,
  tie_word_embeddings: true,
};

/** ZeRO stages 0 to 3 on 1 to 4 ranks. */
export const STAGES_AND_RANKS: readonly Layout[] = [0, 1, 2, 3].flatMap((stage) =>
  [1, 2, 3, 4].map((ranks) => ({
    name: `zero${stage}x${ranks}`,
    ranks,
    settings: {
      zero_optimization: { stage, ...(stage === 3 && { stage3_param_persistence_threshold: 0 }) },
    },
  })),
);

/** One of each kind of division. */
export const KINDS_OF_LAYOUTS: readonly Layout[] = [
  { name: 'one', ranks: 1, settings: {} },
  {
    name: 'tensor4-decoupled',
    ranks: 4,
    settings: {
      mesh: { tensor: 4, sequence_parallel: true },
      checkpoint: { writer: { decoupled: true } },
    },
  },
  {
    name: 'pipeline2-tensor2',
    ranks: 4,
    settings: { mesh: { pipeline: 2, tensor: 2 }, gradient_accumulation_steps: 2 },
  },
  {
    name: 'tensor2-zero3',
    ranks: 4,
    settings: {
      mesh: { tensor: 2 },
      zero_optimization: { stage: 3, stage3_param_persistence_threshold: 0 },
    },
  },
  {
    name: 'zero3x3',
    ranks: 3,
    settings: { zero_optimization: { stage: 3, stage3_param_persistence_threshold: 0 } },
  },
  { name: 'zero1x2', ranks: 2, settings: { zero_optimization: { stage: 1 } } },
  {
    name: 'pipeline2-zero1',
    ranks: 4,
    settings: { mesh: { pipeline: 2 }, zero_optimization: { stage: 1 }, gradient_accumulation_steps: 2 },
  },
  {
    name: 'groups2-zero3',
    ranks: 4,
    settings: {
      zero_optimization: { stage: 3, stage3_param_persistence_threshold: 0 },
      redundancy: { type: 'groups', size: 2 },
    },
  },
];

function runLayout(
  { ranks, settings, name }: Layout,
  task: Omit<LayoutTask, 'name'>,
): Promise<readonly (readonly LayoutRun[])[]> {
  const config = {
    model: MODEL,
    train_batch_size: 12,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    gradient_clipping: 0.5,
    ...settings,
  };
  return runRanks('checkpoint-layouts-program.js', ranks, [
    JSON.stringify(config),
    JSON.stringify({ ...task, name }),
  ]);
}

/** What came of going from one layout to another. */
export interface LayoutPair {
  readonly from: Layout;
  readonly to: Layout;
  readonly saved: LayoutRun;
  readonly loaded: LayoutRun;
}

/**
 * Saves in every layout, and loads every checkpoint in every layout: two sets of ranks for each layout, whatever the
 * number of pairs.
 */
export async function* layoutPairs(root: string, layouts: readonly Layout[]): AsyncGenerator<LayoutPair> {
  const folder = ({ name }: Layout): string => join(root, name);
  const saved: LayoutRun[] = [];
  for (const layout of layouts) {
    const [[run] = []] = await runLayout(layout, { save: folder(layout), load: [] });
    assert.ok(run);
    saved.push(run);
  }
  for (const to of layouts) {
    const [runs = []] = await runLayout(to, { load: layouts.map(folder) });
    for (const [index, loaded] of runs.entries()) {
      const [from, before] = [layouts[index], saved[index]];
      assert.ok(from && before);
      yield { from, to, saved: before, loaded };
    }
  }
}

const TOLERANCE = 1e-5;

/** What is not as it should be between two layouts; undefined where all is. */
export function pairFault({ from, to, saved, loaded }: LayoutPair): string | undefined {
  const between = `${from.name} → ${to.name}`;
  if (loaded.differences.length > 0) {
    return `${between}: ${loaded.differences.map(({ name, kind }) => `${name} ${kind}`).join(', ')}`;
  }
  if (loaded.weights !== saved.weights) return `${between}: the gathered weights are others`;
  const tolerance = from === to ? 0 : TOLERANCE;
  const far = loaded.losses.findIndex(
    (loss, step) => !(Math.abs(loss / (saved.losses[step] ?? Number.NaN) - 1) <= tolerance),
  );
  return far === -1 && loaded.losses.length > 0
    ? undefined
    : `${between}: losses ${loaded.losses.join()} for ${saved.losses.join()}`;
}
