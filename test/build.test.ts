import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import { initialize } from '../src/engine/initialize.js';
import { runRanks } from './run-ranks.js';

/** Many layers alike, so that a rank's part of the model is far more than its largest parameter. */
const MODEL = {
  architecture: 'llama',
  vocab_size: 1500,
  hidden_size: 256,
  intermediate_size: 700,
  num_hidden_layers: 8,
  num_attention_heads: 4,
  tie_word_embeddings: true,
} as const;

/** Odd sizes, so that slices end inside of rows and inside of runs of random numbers. */
const ODD = {
  architecture: 'llama',
  vocab_size: 1237,
  hidden_size: 90,
  intermediate_size: 131,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  num_key_value_heads: 1,
  pad_token_id: 740,
} as const;

interface Built {
  readonly peakBytes: number;
  readonly keptBytes: number;
  /** Of the weights file, what this process has touched. */
  readonly mappedBytes: number;
  readonly parameters: number;
  /** A fingerprint of all parameters. */
  readonly weights: string;
}

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-build-'));
  const engine = initialize({
    config: { model: MODEL, train_batch_size: 1, data: { path: 'none', sequence_length: 8 } },
  });
  engine.saveModel(join(root, 'model'));
  engine.close();
});
after(() => rmSync(root, { recursive: true }));

function build(ranks: number, config: UserConfig): Promise<readonly Built[]> {
  return runRanks('build-program.js', ranks, [JSON.stringify({ train_batch_size: ranks, ...config })]);
}

describe('at stage 3 no rank has the model whole', { concurrency: 1 }, () => {
  for (const from of ['a folder', 'random numbers'] as const) {
    test(`built from ${from}`, async () => {
      const model = from === 'a folder' ? join(root, 'model') : MODEL;
      for (const { peakBytes, keptBytes, parameters } of await build(4, {
        model,
        zero_optimization: { stage: 3 },
      })) {
        const slice = (4 * parameters) / 4;
        // Values and gradients of what the rank owns, and one run of random numbers on the way.
        assert.ok(keptBytes < 2 * slice + 4096, `${keptBytes} bytes are kept, ${2 * slice} are owned`);
        assert.ok(peakBytes < keptBytes + 600_000, `${peakBytes} bytes at most, ${keptBytes} are kept`);
      }
    });
  }

  test('a rank reads its own part of the files', async () => {
    const { size } = statSync(join(root, 'model', 'model.safetensors'));
    for (const { mappedBytes } of await build(4, {
      model: join(root, 'model'),
      zero_optimization: { stage: 3 },
    })) {
      // The kernel maps a few pages around each that is touched.
      assert.ok(mappedBytes > size / 4 && mappedBytes < 0.5 * size, `${mappedBytes} of ${size} bytes`);
    }
    const [whole] = await build(1, { model: join(root, 'model') });
    assert.ok(whole && whole.mappedBytes > 0.95 * size, 'the count sees pages');
  });
});

test('one seed makes the same weights for every world size and stage', async () => {
  const found = new Set<string>();
  for (const ranks of [1, 2, 3, 4]) {
    for (const stage of [0, 3] as const) {
      for (const { weights } of await build(ranks, { model: ODD, seed: 7, zero_optimization: { stage } })) {
        found.add(weights);
      }
    }
  }
  assert.equal(found.size, 1);
});
