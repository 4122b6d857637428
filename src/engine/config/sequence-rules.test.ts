import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../../base/errors.js';
import { resolveConfig, type UserConfig } from '../config.js';

function refuses(config: UserConfig, worldSize: number, where: string, says: RegExp): void {
  assert.throws(
    () => resolveConfig(config, { worldSize }),
    (error) => {
      assert(error instanceof TrainyardError);
      assert.equal(error.code, 'CONFIG_CONFLICT');
      assert.ok(error.report.where?.includes(where), error.message);
      assert.match(error.message, says);
      return true;
    },
  );
}

test('ranks that share sequences count once in the batch, as in DeepSpeed', () => {
  const config = { train_batch_size: 8, gradient_accumulation_steps: 2, sequence_parallel_size: 2 };
  const { data_parallel_size, train_micro_batch_size_per_gpu } = resolveConfig(
    { ...config, mesh: { tensor: 2 } },
    { worldSize: 8 },
  );
  assert.equal(data_parallel_size, 2);
  assert.equal(train_micro_batch_size_per_gpu, 2);
  refuses({ ...config, train_batch_size: 6 }, 8, 'train_batch_size', /8 ranks \/ sequence_parallel_size 2/);
});

test('what sequences over several ranks cannot go with is refused with the reason', () => {
  const config = { train_batch_size: 8, sequence_parallel_size: 2 };
  refuses(config, 3, 'sequence_parallel_size', /expected {2}a divisor of 3/);
  refuses({ ...config, mesh: { tensor: 2 } }, 6, 'sequence_parallel_size', /expected {2}a divisor of 3/);
  refuses({ ...config, redundancy: { type: 'local' } }, 2, 'redundancy', /in their own way/);
  const data = { path: 'x.txt', sequence_length: 30 };
  resolveConfig({ ...config, data }, { worldSize: 2 });
  refuses({ ...config, sequence_parallel_size: 4, data }, 4, 'data.sequence_length', /a multiple of 4/);
  refuses(
    { ...config, data, mesh: { tensor: 2, sequence_parallel: true } },
    4,
    'data.sequence_length',
    /sequence_parallel_size and mesh\.sequence_parallel ask/,
  );
});
