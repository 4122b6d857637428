import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { UserConfig } from '../src/engine/config.js';
import { type InitializeOptions, initialize } from '../src/engine/initialize.js';
import { allocatedBytes } from '../src/tensor/memory.js';
import { type Expected, readJson, readSequences } from './models-harness.js';
import { near } from './near.js';

const MODELS = join(import.meta.dirname, '../../test/fixtures/models');
const LOSS_TOLERANCE = 1e-4;
const NORM_TOLERANCE = 1e-4;

/** GPT-2, small, for as many sequences as there are in `SEQUENCES`. */
export const GPT2 = {
  architecture: 'gpt2',
  vocab_size: 128,
  n_embd: 32,
  n_layer: 4,
  n_head: 4,
  n_positions: 64,
} as const;

/** Every kind of dropout that it has. */
export const DROPOUT = { resid_pdrop: 0.1, embd_pdrop: 0.2, attn_pdrop: 0.1 } as const;

/** Batches of eight for it. */
export const SEQUENCES = sequencesOf(8, 48, 128);

/** What training came to. */
export interface Run {
  readonly weights: Buffer;
  readonly losses: readonly number[];
  readonly norms: readonly number[];
  readonly features: readonly string[];
  /** Names of the blocks that are recomputed. */
  readonly recomputed: readonly string[];
  readonly predicted: number;
  readonly measured: number;
}

/** Trains on the sequences in this process, and says what came out. */
export function train(
  config: UserConfig,
  sequences: readonly (readonly number[])[],
  steps: number,
  own: Pick<InitializeOptions, 'model'> = {},
): Run {
  // Tables of models that no longer exist may still wait for the garbage collector.
  const before = allocatedBytes();
  const engine = initialize({ config, ...own });
  const rows = engine.config.train_batch_size;
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-recompute-'));
  try {
    const results = Array.from({ length: steps }, (_, step) => {
      const from = (step * rows) % sequences.length;
      return engine.trainBatch({ inputIds: sequences.slice(from, from + rows) });
    });
    const { features, instructions, blocks } = engine.program;
    const recomputed = instructions.flatMap((each) => (each.op === 'recompute' ? [each.block] : []));
    const [predicted] = engine.predictedPeaks();
    const [measured = Number.NaN] = engine.measuredPeakBytes() ?? [];
    engine.saveModel(folder);
    return {
      weights: readFileSync(join(folder, 'model.safetensors')),
      losses: results.map(({ loss }) => loss),
      norms: results.map(({ gradientNorm }) => gradientNorm),
      features,
      recomputed: [...new Set(recomputed)].map((block) => blocks[block]?.name ?? ''),
      predicted: predicted?.bytes ?? Number.NaN,
      measured: measured - before,
    };
  } finally {
    engine.close();
    rmSync(folder, { recursive: true });
  }
}

/** Sequences of ids that follow a fixed rule. */
export function sequencesOf(
  rows: number,
  length: number,
  vocabulary: number,
): readonly (readonly number[])[] {
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length }, (__, position) => (row * 31 + position * 7 + ((position * row) % 5)) % vocabulary),
  );
}

/** A model of the fixtures with the training that its answers tell of. */
export interface AnsweredTraining {
  readonly name: string;
  readonly config: UserConfig;
  readonly steps: number;
  sequences(): readonly (readonly number[])[];
  /** Asserts that the losses and gradient norms are those of the answers. */
  demand(run: Run): void;
}

/** All of them. */
export function answeredTrainings(): readonly AnsweredTraining[] {
  return readdirSync(MODELS)
    .filter((name) => existsSync(join(MODELS, name, 'expected.json')))
    .map(answeredTraining);
}

function answeredTraining(name: string): AnsweredTraining {
  const folder = join(MODELS, name);
  const { batch_size, train: answer } = readJson<Expected>(folder, 'expected.json');
  const { lr, betas, eps, weight_decay } = answer;
  const steps = answer.losses.length;
  return {
    name,
    steps,
    config: {
      model: folder,
      train_batch_size: batch_size,
      gradient_clipping: answer.clip,
      data: { path: join(folder, 'batches.jsonl'), sequence_length: 32 },
      optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
    },
    sequences: () => readSequences(folder, batch_size * steps),
    demand({ losses, norms }) {
      for (const [index, loss] of answer.losses.entries()) {
        near(losses[index], loss, LOSS_TOLERANCE, `loss of step ${index + 1}`);
        near(norms[index], answer.grad_norms[index] ?? 0, NORM_TOLERANCE, `norm of step ${index + 1}`);
      }
    },
  };
}
