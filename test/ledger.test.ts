import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import type { MemoryPeak } from '../src/step/checker/data-flow.js';
import { LEDGER_LLAMA } from './ledger-models.js';
import { runRanks } from './run-ranks.js';

/** How far the ledger may be from what is measured; it is off by what a kernel takes on one path and not on another. */
const TOLERANCE = 0.02;

const LLAMA = { ...LEDGER_LLAMA, tie_word_embeddings: true } as const;

const GPT2 = {
  architecture: 'gpt2',
  vocab_size: 128,
  n_embd: 32,
  n_layer: 4,
  n_head: 4,
  n_positions: 64,
} as const;

interface Measured {
  readonly measured: number;
  readonly predicted: MemoryPeak;
  readonly features: readonly string[];
  /** Bytes of tensors after the engine was closed. */
  readonly left: number;
}

const POLICIES: readonly NonNullable<UserConfig['recompute']>[] = [
  { policy: 'none' },
  { policy: 'always' },
  { policy: 'selected', every: 2 },
  { policy: 'on-demand', limit_bytes: 4_400_000 },
  { policy: 'budget', budget_bytes: 4_400_000 },
];

const IN_HALVES: typeof POLICIES = [
  { policy: 'always', granularity: 'half' },
  { policy: 'selected', blocks: ['*.mlp'], granularity: 'half' },
  { policy: 'on-demand', limit_bytes: 4_400_000, granularity: 'half' },
  { policy: 'budget', budget_bytes: 4_400_000, granularity: 'half' },
];

async function measure(ranks: number, config: UserConfig): Promise<readonly Measured[]> {
  const whole: UserConfig = {
    model: LLAMA,
    data: { path: 'none', sequence_length: 64 },
    train_batch_size: 12,
    optimizer: { type: 'AdamW', params: { lr: 0.001 } },
    ...config,
  };
  return runRanks('ledger-program.js', ranks, [JSON.stringify(whole)]);
}

function matches(results: readonly Measured[]): void {
  for (const { measured, predicted, left } of results) {
    const off = measured / predicted.bytes - 1;
    assert.ok(Math.abs(off) <= TOLERANCE, `${measured} bytes for ${predicted.bytes}: ${100 * off} %`);
    const lines = Object.values(predicted.ledger).reduce((sum, bytes) => sum + bytes, 0);
    assert.equal(lines, predicted.bytes, 'the lines add up');
    assert.equal(left, 0, 'closing leaves nothing');
  }
}

describe('the ledger of memory on two ranks is what is measured', { concurrency: 1 }, () => {
  for (const stage of [0, 1, 2, 3] as const) {
    const policies = stage % 3 === 0 ? [...POLICIES, ...IN_HALVES] : POLICIES;
    for (const [index, recompute] of policies.entries()) {
      const gradient_accumulation_steps = index % 2 === 0 ? 1 : 3;
      test(`stage ${stage}, recompute ${JSON.stringify(recompute)}`, async () => {
        const zero_optimization = { stage, reduce_bucket_size: 5000 };
        matches(await measure(2, { recompute, gradient_accumulation_steps, zero_optimization }));
      });
    }
  }
});

test('it is with one rank, three ranks, one bucket, no overlap, and sums in a fixed order', async () => {
  matches(await measure(1, {}));
  matches(await measure(3, { zero_optimization: { stage: 3 } }));
  matches(await measure(3, { zero_optimization: { stage: 2, overlap_comm: false } }));
  for (const stage of [0, 2] as const) {
    const zero_optimization = { stage, reduce_bucket_size: 3000 };
    matches(await measure(3, { zero_optimization, communication: { deterministic: true } }));
  }
});

test('it is in shared memory, where ranks read each other and need no messages', async () => {
  const communication = { algorithm: 'shared-memory' } as const;
  for (const stage of [0, 1, 2, 3] as const) {
    const results = await measure(3, { zero_optimization: { stage }, communication });
    matches(results);
    for (const { predicted } of results) assert.equal(predicted.ledger.buckets, 0);
  }
});

test('it is with messages that wait to be added, whatever the algorithm', async () => {
  const zero_optimization = { stage: 0, reduce_bucket_size: 30_000 } as const;
  for (const [ranks, algorithm, beside] of [
    [2, 'ring', {}],
    [3, 'ring', {}],
    [3, 'bidirectional-ring', {}],
    [4, 'halving-doubling', {}],
    [4, 'hierarchical', { topology: { ranks_per_host: 2 } }],
    [3, 'hierarchical', { topology: [[0], [1, 2]] }],
  ] as const) {
    const of = (communication: UserConfig['communication']) =>
      measure(ranks, { zero_optimization, communication });
    const planned = await of({ algorithm, ...beside });
    const plain = await of({ algorithm: 'backend' });
    for (const [rank, { measured, predicted }] of planned.entries()) {
      const { buckets } = predicted.ledger;
      assert.equal(
        measured - (plain[rank]?.measured ?? 0),
        buckets,
        `${algorithm}: rank ${rank} of ${ranks}`,
      );
      assert.ok(rank > 0 || buckets > 0, `${algorithm}: no messages`);
    }
  }
});

test('it is with compressed gradients', async () => {
  for (const [stage, compression] of [
    [0, 'fp16'],
    [3, 'fp16-dynamic'],
  ] as const) {
    matches(await measure(2, { zero_optimization: { stage }, communication: { compression } }));
  }
});

test('it is for replicas, between synchronisations and in them', async () => {
  for (const config of [
    { redundancy: { type: 'local', sync_every: 2 } },
    { redundancy: { type: 'local', sync_every: 'never' } },
    // Few activations, so that bringing replicas together takes most.
    { redundancy: { type: 'local', sync_every: 1, outer: { type: 'average' } }, train_batch_size: 3 },
    { redundancy: { type: 'local', sync_every: 2 }, bf16: { enabled: true } },
    {
      redundancy: { type: 'local', sync_every: 2 },
      recompute: { policy: 'budget', budget_bytes: 4_400_000 },
    },
  ] as const) {
    matches(await measure(3, config));
  }
});

test('it is for GPT-2 with dropout', async () => {
  const model = { ...GPT2, resid_pdrop: 0.1, embd_pdrop: 0.2, attn_pdrop: 0.1 };
  for (const granularity of ['block', 'half'] as const) {
    const recompute = { policy: 'always', granularity } as const;
    matches(await measure(2, { model, zero_optimization: { stage: 3 }, recompute }));
  }
});

test('it is on stages whose backwards come in halves', async () => {
  const pipelined = {
    mesh: { pipeline: 2 },
    pipeline: { schedule: 'zero-bubble' },
    gradient_accumulation_steps: 3,
  } as const;
  const results = await measure(2, pipelined);
  matches(results);
  matches(await measure(2, { ...pipelined, recompute: { policy: 'always' } }));
  matches(await measure(2, { ...pipelined, model: GPT2, bf16: { enabled: true } }));
  const whole = await measure(2, { ...pipelined, pipeline: { schedule: '1f1b' } });
  assert.ok((results[1]?.measured ?? 0) > (whole[1]?.measured ?? 0), 'what waits takes memory');
});

test('optimizer states, gradients and parameters are divided one after the other', async () => {
  const ledgers = [];
  for (const stage of [0, 1, 2, 3] as const) {
    const model = { ...LLAMA, num_hidden_layers: 12 };
    const [first] = await measure(2, { model, zero_optimization: { stage } });
    ledgers.push(first?.predicted.ledger);
  }
  const [none, states, gradients, parameters] = ledgers;
  assert.ok(none && states && gradients && parameters);
  assert.equal(states.optimizer, none.optimizer / 2);
  assert.ok(gradients.gradients < states.gradients);
  assert.ok(parameters.parameters < 0.51 * gradients.parameters);
  assert.ok(parameters.gathered > 0);
});
