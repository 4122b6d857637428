import { join } from 'node:path';
import { listDemoCorpus } from '../../data/demo-corpus.js';

export const COMPRESSION_BENCH_RANKS = 2;

const BATCH_SIZE = 8;

const ADAM = { lr: 2e-3, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1 };

/** The share of its steps in which 1-bit Adam learns how large gradients are. */
const WARM_UP_SHARE = 0.2;

/** 0.7 M parameters for a vocabulary of bytes: a step takes a tenth of a second. */
export const SMALL_LLAMA = {
  architecture: 'llama',
  vocab_size: 512,
  hidden_size: 128,
  intermediate_size: 384,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  max_position_embeddings: 128,
  tie_word_embeddings: true,
} as const;

/** A small byte-level Llama on the declaration files of TypeScript: gradients of a real run, in seconds. */
export function compressionBenchConfig(steps: number): object {
  return {
    model: SMALL_LLAMA,
    data: {
      path: listDemoCorpus(),
      tokenizer: 'bytes',
      sequence_length: SMALL_LLAMA.max_position_embeddings,
    },
    steps,
    seed: 0,
    train_batch_size: BATCH_SIZE,
    gradient_clipping: 1,
    optimizer: { type: 'AdamW', params: ADAM },
    scheduler: { type: 'WarmupCosineLR', params: { warmup_num_steps: 10 } },
  };
}

/** Runs in which something else than gradients is compressed, by the names of the table: what they set. */
export function otherCompressions(steps: number): Readonly<Record<string, string>> {
  const params = { ...ADAM, freeze_step: Math.ceil(steps * WARM_UP_SHARE) };
  return {
    zero_quantized_weights: 'zero_optimization={"stage":3,"zero_quantized_weights":true}',
    OneBitAdam: `optimizer=${JSON.stringify({ type: 'OneBitAdam', params })}`,
  };
}

/** Where the run without compression leaves its model. */
export function benchModel(folder: string): string {
  return join(folder, 'model');
}

/** What makes of the same run one rank's half of a batch at the trained model. */
export function gradientOverrides(folder: string): readonly string[] {
  const ownShare = BATCH_SIZE / COMPRESSION_BENCH_RANKS;
  return [`model=${benchModel(folder)}`, `train_batch_size=${ownShare}`];
}
