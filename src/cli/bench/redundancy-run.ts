import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SMALL_LLAMA } from './compression-run.js';

const BATCH_SIZE = 16;
/** The share of the text that nothing is trained on. */
const HELD_OUT_SHARE = 0.1;
const HELD_OUT_SEQUENCES = 256;
const WARM_UP_STEPS = 50;

/** How long the runs are. */
export interface RunLengths {
  /** Steps that each way of training takes. */
  readonly steps: number;
  /** Steps before these in which one model is trained, the same for all ways; left out: none. */
  readonly first?: number;
}

/** The configuration of a run and the text that it does not see. */
export interface RedundancyBench {
  readonly config: string;
  /** What makes of it the run of the first part. */
  readonly firstPart: readonly string[];
  /** What makes of it one batch of the text that was held out, for a model in this folder. */
  heldOut(model: string): readonly string[];
}

/** Writes the files of runs of so many steps: a small byte-level Llama on the text of these files. */
export function redundancyBench(
  { steps, first = 0 }: RunLengths,
  files: readonly string[],
  folder: string,
): RedundancyBench {
  const text = files.map((file) => readFileSync(file, 'utf8')).join('\n');
  const cut = Math.floor(text.length * (1 - HELD_OUT_SHARE));
  const [seen, unseen, config] = ['seen.txt', 'unseen.txt', 'config.json'].map((name) => join(folder, name));
  writeFileSync(seen ?? '', text.slice(0, cut));
  writeFileSync(unseen ?? '', text.slice(cut));
  writeFileSync(config ?? '', JSON.stringify(configOf(first + steps, seen ?? '')));
  return {
    config: config ?? '',
    firstPart: [`steps=${first}`],
    heldOut: (model) => [
      `model=${model}`,
      `data.path=${unseen}`,
      `train_batch_size=${HELD_OUT_SEQUENCES}`,
      `train_micro_batch_size_per_gpu=${BATCH_SIZE}`,
    ],
  };
}

function configOf(steps: number, path: string): object {
  return {
    model: SMALL_LLAMA,
    data: { path, tokenizer: 'bytes', sequence_length: SMALL_LLAMA.max_position_embeddings },
    steps,
    seed: 0,
    train_batch_size: BATCH_SIZE,
    gradient_clipping: 1,
    optimizer: { type: 'AdamW', params: { lr: 2e-3, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1 } },
    scheduler: {
      type: 'WarmupCosineLR',
      params: { warmup_num_steps: WARM_UP_STEPS, total_num_steps: steps },
    },
  };
}
