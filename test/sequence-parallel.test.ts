import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { run } from './command-line.js';
import type { MeshRun } from './mesh-program.js';
import { type Expected, readJson } from './models-harness.js';
import { near } from './near.js';
import { runRanks } from './run-ranks.js';

// Losses and norms of fixtures are compared in mesh.test.ts, bytes with what programs say in mesh-layouts.test.ts.

const FIXTURES = join(import.meta.dirname, '../../test/fixtures');

interface Inspection {
  readonly loss: number;
  readonly logits_norm: number;
  readonly logits_0_last: readonly number[];
  readonly grad_norms: Readonly<Record<string, number>>;
}

describe('what is inspected over shared sequences is what PyTorch says', { concurrency: 1 }, () => {
  for (const [name, ranks, sharing] of [
    ['gpt2-relu', 4, 2],
    ['llama-gqa-tied', 4, 4],
  ] as const) {
    test(`${name} on ${ranks}, ${sharing} to a sequence`, async () => {
      const folder = join(FIXTURES, 'models', name);
      const expected = readJson<Expected>(folder, 'expected.json');
      const settings = {
        model: folder,
        'data.path': join(folder, 'batches.jsonl'),
        train_batch_size: expected.batch_size,
        sequence_parallel_size: sharing,
      };
      const set = Object.entries(settings).flatMap(([key, value]) => ['--set', `${key}=${value}`]);
      const configuration = join(FIXTURES, 'empty-config.json');
      const { exitCode, stdout, stderr } = await run([
        'inspect',
        configuration,
        '--ranks',
        `${ranks}`,
        ...set,
        '--json',
      ]);
      assert.equal(exitCode, 0, stderr);
      const found = JSON.parse(stdout) as Inspection;
      near(found.loss, expected.loss, 1e-4, 'loss');
      near(found.logits_norm, expected.logits_norm, 1e-4, 'norm of the logits');
      for (const [token, logit] of expected.logits_0_last.entries()) {
        assert(Math.abs((found.logits_0_last[token] ?? Number.NaN) - logit) <= 1e-4, `logit ${token}`);
      }
      for (const [parameter, norm] of Object.entries(expected.grad_norms)) {
        near(found.grad_norms[parameter], norm, 1e-4, `gradient norm of ${parameter}`);
      }
    });
  }
});

describe('the exchanges around attention', { concurrency: 1 }, () => {
  const [LAYERS, HEAD_SIZE, LENGTH, ROWS] = [3, 6, 12, 4];
  for (const [ranks, query, keyValue] of [
    [2, 4, 4],
    [4, 8, 2],
  ] as const) {
    test(`${ranks} ranks send what queries, keys, values and results of their positions take`, async () => {
      const config = {
        model: {
          architecture: 'llama',
          vocab_size: 37,
          hidden_size: 24,
          intermediate_size: 16,
          num_hidden_layers: LAYERS,
          num_attention_heads: query,
          num_key_value_heads: keyValue,
          head_dim: HEAD_SIZE,
        },
        train_batch_size: ROWS,
        sequence_parallel_size: ranks,
      };
      const runs = await runRanks<MeshRun>('mesh-program.js', ranks, [JSON.stringify(config)]);
      // Keys and values of fewer heads than ranks go to every rank that needs them.
      const heads = query + 2 * Math.max(keyValue, ranks) + query;
      const inForward = (LAYERS * ROWS * LENGTH * heads * HEAD_SIZE * 4) / ranks;
      const expected = (2 * inForward * (ranks - 1)) / ranks;
      for (const { sent } of runs) assert.equal(sent.sequence, expected);
    });
  }
});
