import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import { runRanks } from './run-ranks.js';

const RANKS = 4;

/** 55 million parameters: 220 MB. */
const MODEL = {
  architecture: 'llama',
  vocab_size: 16_000,
  hidden_size: 1024,
  intermediate_size: 2816,
  num_hidden_layers: 3,
  num_attention_heads: 8,
  tie_word_embeddings: true,
};
const CONFIG = {
  train_micro_batch_size_per_gpu: 1,
  adapter: { type: 'lora', targets: ['q_proj', 'v_proj'], rank: 4 },
} as const;

interface Measured {
  readonly bytes: number;
  readonly all: { readonly rss: number; readonly pss: number };
  readonly constants: { readonly rss: number; readonly pss: number };
}

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-adapter-memory-'));
});
after(() => rmSync(root, { recursive: true }));

function measure(ranks: number, config: UserConfig): Promise<readonly Measured[]> {
  return runRanks('adapter-memory-program.js', ranks, [JSON.stringify(config)]);
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

describe('a frozen model of 220 MB', {
  concurrency: 1,
  skip: process.platform !== 'linux' && "proportional set sizes are Linux's",
}, () => {
  let alone: Measured | undefined;
  before(async () => {
    const output = join(root, 'model');
    [alone] = await measure(1, {
      ...CONFIG,
      adapter: { ...CONFIG.adapter, merge: true },
      model: MODEL,
      output,
    });
  });

  const cases = [
    ['made at random', () => MODEL, 0],
    ['from a folder, ZeRO 3', () => join(root, 'model'), 3],
  ] as const;
  for (const [name, model, stage] of cases) {
    test(`is in the memory of ${RANKS} ranks once: ${name}`, async (context) => {
      assert.ok(alone);
      const together = await measure(RANKS, { ...CONFIG, model: model(), zero_optimization: { stage } });
      const { bytes } = alone;
      assert.ok(bytes >= 200e6, `${bytes} bytes are no large model`);
      const shared = sum(together.map(({ constants }) => constants.pss));
      const everything = sum(together.map(({ all }) => all.pss));
      context.diagnostic(
        `${mega(bytes)} MB of model; constants of ${RANKS} ranks: resident ` +
          `${together.map(({ constants }) => mega(constants.rss)).join(' + ')} MB, proportional ` +
          `${mega(shared)} MB together; all memory, proportional: 1 rank ${mega(alone.all.pss)} MB, ` +
          `${RANKS} ranks ${mega(everything)} MB`,
      );
      // Every rank reads all of it, but rows of the embedding that are on no page of a token; it is there once.
      for (const { constants } of together) assert.ok(constants.rss > 0.6 * bytes);
      assert.ok(shared < 1.05 * bytes, `${shared} bytes of constants for ${bytes} bytes of parameters`);
      // What a rank has of its own is Node, libtorch, the adapter and activations, and no second copy.
      const own = (everything - shared) / RANKS;
      assert.ok(own < bytes, `${own} bytes of a rank's own`);
    });
  }
});

function mega(bytes: number): string {
  return (bytes / 1e6).toFixed(0);
}
