import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import type { MemoryPeak } from '../src/step/checker/data-flow.js';
import { runRanks } from './run-ranks.js';

// `activation_checkpointing.cpu_checkpointing` without a GPU: what is moved there moves on the CPU for real, and
// training must not notice.

const LLAMA = {
  architecture: 'llama',
  vocab_size: 251,
  hidden_size: 48,
  intermediate_size: 130,
  num_hidden_layers: 6,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
  tie_word_embeddings: true,
} as const;

const GPT2_WITH_DROPOUT = {
  architecture: 'gpt2',
  vocab_size: 128,
  n_embd: 32,
  n_layer: 5,
  n_head: 4,
  n_positions: 64,
  resid_pdrop: 0.1,
  embd_pdrop: 0.2,
  attn_pdrop: 0.1,
} as const;

const MODELS = { llama: LLAMA, 'GPT-2 with dropout': GPT2_WITH_DROPOUT } as const;

/** What asks for recomputation, and how many inputs are then on the host, by the number of layers. */
const POLICIES: readonly {
  readonly asked: UserConfig;
  readonly moved: (layers: number) => number;
}[] = [
  { asked: { recompute: { policy: 'always' } }, moved: (layers) => layers - 1 },
  { asked: { recompute: { policy: 'selected', every: 2 } }, moved: (layers) => Math.floor(layers / 2) },
  { asked: { recompute: { policy: 'selected', blocks: ['*.1'] } }, moved: () => 1 },
  {
    asked: { pipeline: { activation_checkpoint_interval: 3 } },
    moved: (layers) => Math.floor(layers / 3),
  },
];

/** How far the ledger may be from what is measured. */
const TOLERANCE = 0.02;

interface Run {
  readonly losses: readonly number[];
  readonly weights: string;
  readonly features: readonly string[];
  readonly measured: number;
  readonly predicted: MemoryPeak;
}

/** What each configuration comes to on the device alone and with kept inputs on the host, as rank 0 has it. */
async function compare(
  ranks: number,
  configs: readonly UserConfig[],
): Promise<readonly { readonly config: UserConfig; readonly onDevice: Run; readonly onHost: Run }[]> {
  const pairs = configs.flatMap((config) =>
    [false, true].map((cpu_checkpointing) => ({
      data: { path: 'none', sequence_length: 64 },
      train_batch_size: 12,
      optimizer: { type: 'AdamW', params: { lr: 0.001 } },
      device: 'cuda',
      ...config,
      activation_checkpointing: { cpu_checkpointing },
    })),
  );
  const [first] = await runRanks<{ readonly runs: readonly Run[] }>('cpu-checkpointing-program.js', ranks, [
    JSON.stringify(pairs),
  ]);
  return configs.map((config, index) => {
    const [onDevice, onHost] = first?.runs.slice(2 * index, 2 * index + 2) ?? [];
    assert.ok(onDevice && onHost);
    return { config, onDevice, onHost };
  });
}

function movedIn({ features }: Run): number {
  return Number(/(\d+) kept inputs? on the host/.exec(features.join())?.[1] ?? 0);
}

describe('kept inputs in host memory', { concurrency: 1 }, () => {
  for (const [name, model] of Object.entries(MODELS)) {
    for (const [ranks, stage] of [
      [1, 0],
      [2, 0],
      [2, 3],
    ] as const) {
      test(`${name}, stage ${stage} on ${ranks}: the same bits, and the memory that is predicted`, async () => {
        const layers = 'n_layer' in model ? model.n_layer : model.num_hidden_layers;
        const configs = POLICIES.map(
          ({ asked }, index): UserConfig => ({
            ...asked,
            model,
            gradient_accumulation_steps: index % 2 === 0 ? 1 : 3,
            zero_optimization: {
              stage,
              reduce_bucket_size: 5000,
              ...(stage === 3 && { stage3_param_persistence_threshold: 0 }),
            },
          }),
        );
        for (const [index, { config, onDevice, onHost }] of (await compare(ranks, configs)).entries()) {
          const what = JSON.stringify(config);
          assert.equal(movedIn(onDevice), 0, what);
          assert.equal(movedIn(onHost), POLICIES[index]?.moved(layers), onHost.features.join());
          assert.deepEqual(onHost.losses, onDevice.losses, what);
          assert.equal(onHost.weights, onDevice.weights, what);
          const off = onHost.measured / onHost.predicted.bytes - 1;
          assert.ok(Math.abs(off) <= TOLERANCE, `${what}: ${onHost.measured} bytes, off by ${100 * off} %`);
        }
      });
    }
  }

  test('within a budget, after the first step has been measured, and in 16 bits', async () => {
    const base: UserConfig = { model: LLAMA, gradient_accumulation_steps: 2 };
    const results = await compare(2, [
      { ...base, recompute: { policy: 'budget', budget_bytes: 4_000_000 } },
      { ...base, recompute: { policy: 'always' }, bf16: { enabled: true }, zero_optimization: { stage: 3 } },
    ]);
    for (const { config, onDevice, onHost } of results) {
      assert.ok(movedIn(onHost) > 0, onHost.features.join());
      assert.deepEqual(onHost.losses, onDevice.losses, JSON.stringify(config));
      assert.equal(onHost.weights, onDevice.weights, JSON.stringify(config));
    }
  });
});
