import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { UserConfig } from '../src/engine/config.js';
import { runRanks } from './run-ranks.js';

const CONFIG: UserConfig = {
  train_batch_size: 2,
  gradient_clipping: 1,
  optimizer: { type: 'SGD', params: { lr: 0.1 } },
};

async function refusals(...configs: readonly UserConfig[]): Promise<readonly string[]> {
  const results = await runRanks<{ readonly refusal: string }>(
    'configurations-differ-program.js',
    configs.length,
    [JSON.stringify(configs)],
  );
  return results.map(({ refusal }) => refusal);
}

test('a rank with another configuration is named on every rank, with the keys', async () => {
  const other: UserConfig = {
    ...CONFIG,
    gradient_clipping: 2,
    optimizer: { type: 'SGD', params: { lr: 0.2 } },
  };
  for (const refusal of await refusals(CONFIG, other)) {
    assert.match(refusal, /Rank 1 has another configuration than rank 0/);
    assert.match(refusal, /optimizer, gradient_clipping|gradient_clipping, optimizer/);
  }
});

test('what is a rank’s own may differ, and what is left out is its default', async () => {
  const other: UserConfig = { ...CONFIG, output: 'elsewhere', seed: 0 };
  assert.deepEqual(await refusals(CONFIG, other), ['', '']);
});
