import { join } from 'node:path';

/** A decoder and a batch to measure, the same ones that the Python programs we compare with run. */
export interface BenchPreset {
  readonly hiddenSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly sequenceLength: number;
  /** Sequences of a step over all ranks. */
  readonly batchSize: number;
  /** Left out: 4096. */
  readonly vocabularySize?: number;
}

export const BENCH_PRESETS = {
  /** 5.3 M parameters: what an operator costs shows. */
  S: { hiddenSize: 256, layers: 4, heads: 4, sequenceLength: 128, batchSize: 16 },
  /** 30 M: matrix products decide. */
  M: { hiddenSize: 512, layers: 8, heads: 8, sequenceLength: 256, batchSize: 8 },
  /** 160 M: the traffic of optimizer and gradients shows. */
  L: { hiddenSize: 1024, layers: 12, heads: 16, sequenceLength: 256, batchSize: 4 },
} as const satisfies Record<string, BenchPreset>;

export type BenchPresetName = keyof typeof BENCH_PRESETS;

const VOCABULARY_SIZE = 4096;

/** The files of a run of `steps` steps, by name: a configuration and tokens drawn from a fixed sequence. */
export function benchFiles(
  preset: BenchPreset,
  ranks: number,
  steps: number,
  folder: string,
): ReadonlyMap<string, string> {
  const data = join(folder, 'tokens.jsonl');
  return new Map([
    [data, tokenLines(preset, steps)],
    [join(folder, 'config.json'), JSON.stringify(benchConfig(preset, ranks, steps, data))],
  ]);
}

function benchConfig(preset: BenchPreset, ranks: number, steps: number, data: string): object {
  const { hiddenSize, layers, heads, sequenceLength, batchSize, vocabularySize = VOCABULARY_SIZE } = preset;
  return {
    model: {
      architecture: 'llama',
      vocab_size: vocabularySize,
      hidden_size: hiddenSize,
      intermediate_size: Math.ceil((hiddenSize * 8) / 3 / 64) * 64,
      num_hidden_layers: layers,
      num_attention_heads: heads,
      num_key_value_heads: heads,
      max_position_embeddings: sequenceLength,
      rms_norm_eps: 1e-5,
      rope_theta: 10_000,
      tie_word_embeddings: false,
    },
    data: { path: data, sequence_length: sequenceLength, pack: true, shuffle: false },
    steps,
    train_batch_size: batchSize,
    train_micro_batch_size_per_gpu: batchSize / ranks,
    optimizer: { type: 'AdamW', params: { lr: 1e-3, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1 } },
  };
}

/** A 32-bit linear congruential sequence, a line of ids for each sequence: data whose content costs nothing. */
function tokenLines(
  { batchSize, sequenceLength, vocabularySize = VOCABULARY_SIZE }: BenchPreset,
  steps: number,
): string {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return (state >>> 16) % vocabularySize;
  };
  const line = (): string => `{"input_ids":[${Array.from({ length: sequenceLength }, next).join(',')}]}\n`;
  // One more than needed: a packed sequence borrows its last target from the next.
  return Array.from({ length: batchSize * steps + 1 }, line).join('');
}
