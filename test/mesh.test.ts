import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { type Expected, readJson } from './models-harness.js';
import { near } from './near.js';
import { trainRanks } from './train-ranks.js';

const FIXTURES = join(import.meta.dirname, '../../test/fixtures/models');

interface Case {
  readonly model: string;
  readonly ranks: number;
  /** Ranks that share sequences; left out: 1. */
  readonly sequence?: number;
  readonly mesh: {
    readonly tensor?: number;
    readonly pipeline?: number;
    readonly sequence_parallel?: boolean;
  };
  readonly stage: 0 | 1 | 2 | 3;
  readonly accumulation?: number;
  readonly settings?: Readonly<Record<string, unknown>>;
}

// `node dist/test/mesh-matrix.js` has every mesh.
const CASES: readonly Case[] = [
  { model: 'llama-gqa-tied', ranks: 4, mesh: { tensor: 2 }, stage: 1, accumulation: 2 },
  { model: 'llama-gqa-tied', ranks: 4, mesh: { tensor: 4 }, stage: 0 },
  { model: 'qwen3', ranks: 4, mesh: { tensor: 2, sequence_parallel: true }, stage: 2, accumulation: 2 },
  { model: 'llama-biases', ranks: 2, mesh: { tensor: 2, sequence_parallel: true }, stage: 0 },
  { model: 'gpt2-relu', ranks: 4, mesh: { tensor: 2, sequence_parallel: true }, stage: 2 },
  { model: 'qwen2', ranks: 2, mesh: { pipeline: 2 }, stage: 0, accumulation: 1 },
  {
    model: 'gpt2-relu',
    ranks: 4,
    mesh: { pipeline: 2 },
    stage: 2,
    accumulation: 2,
    settings: { 'pipeline.schedule': 'gpipe' },
  },
  {
    model: 'llama-gqa-tied',
    ranks: 2,
    mesh: { pipeline: 2 },
    stage: 0,
    accumulation: 4,
    settings: { 'pipeline.schedule': 'zero-bubble' },
  },
  {
    model: 'llama-gqa-tied',
    ranks: 8,
    mesh: { pipeline: 2, tensor: 2, sequence_parallel: true },
    stage: 3,
    accumulation: 2,
  },
  { model: 'llama-gqa-tied', ranks: 2, sequence: 2, mesh: {}, stage: 0 },
  // Two heads of keys and values for four ranks.
  { model: 'llama-gqa-tied', ranks: 4, sequence: 4, mesh: {}, stage: 3 },
  { model: 'gpt2-relu', ranks: 2, sequence: 2, mesh: {}, stage: 2, accumulation: 2 },
  { model: 'qwen3', ranks: 4, sequence: 2, mesh: {}, stage: 1, settings: { 'recompute.policy': 'always' } },
  { model: 'gpt2-relu', ranks: 4, sequence: 2, mesh: { tensor: 2, sequence_parallel: true }, stage: 3 },
  { model: 'llama-gqa-tied', ranks: 4, sequence: 2, mesh: { pipeline: 2 }, stage: 0, accumulation: 4 },
];

describe('PyTorch’s losses and gradient norms on a mesh', { concurrency: 1 }, () => {
  for (const { model, ranks, sequence = 1, mesh, stage, accumulation = 1, settings } of CASES) {
    const words = Object.entries({ ...mesh, ...(sequence > 1 && { sequence }) }).map(
      ([key, value]) => `${key} ${value}`,
    );
    test(`${model} on ${ranks}, ${words.join(', ')}, stage ${stage}`, async () => {
      const folder = join(FIXTURES, model);
      const { batch_size, train: expected } = readJson<Expected>(folder, 'expected.json');
      const { lr, betas, eps, weight_decay } = expected;
      const { steps } = await trainRanks(ranks, {
        model: folder,
        mesh,
        sequence_parallel_size: sequence,
        'data.path': join(folder, 'batches.jsonl'),
        steps: expected.losses.length,
        train_batch_size: batch_size,
        gradient_accumulation_steps: accumulation,
        gradient_clipping: expected.clip,
        optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
        zero_optimization: {
          stage,
          reduce_bucket_size: 4096,
          ...(stage === 3 && { stage3_param_persistence_threshold: 0 }),
        },
        ...settings,
      });
      assert.equal(steps.length, expected.losses.length);
      for (const [index, { loss, grad_norm }] of steps.entries()) {
        near(loss, expected.losses[index], 1e-4, `loss of step ${index + 1}`);
        near(grad_norm, expected.grad_norms[index], 1e-4, `norm of step ${index + 1}`);
      }
    });
  }
});
