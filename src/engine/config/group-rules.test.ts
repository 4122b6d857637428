import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../../base/errors.js';
import { resolveConfig, resolveObject, type UserConfig } from '../config.js';

const GROUPS: UserConfig = {
  train_batch_size: 12,
  zero_optimization: { stage: 2 },
  redundancy: { type: 'groups', size: 2 },
};

function refuses(config: UserConfig, worldSize: number, where: string, says: RegExp): void {
  assert.throws(
    () => resolveConfig({ ...GROUPS, ...config }, { worldSize }),
    (error) => {
      assert(error instanceof TrainyardError);
      assert.equal(error.code, 'CONFIG_CONFLICT');
      assert.ok(error.report.where?.includes(where), error.message);
      assert.match(error.message, says);
      return true;
    },
  );
}

test('groups go with every stage that divides, and with meshes that leave whole groups', () => {
  for (const stage of [1, 2, 3] as const)
    resolveConfig({ ...GROUPS, zero_optimization: { stage } }, { worldSize: 4 });
  resolveConfig({ ...GROUPS, mesh: { tensor: 3 } }, { worldSize: 12 });
  refuses({ zero_optimization: { stage: 0 } }, 4, 'zero_optimization.stage', /nothing is divided/);
  refuses({}, 3, 'redundancy.size', /3 data-parallel ranks cannot be cut into groups of 2/);
  refuses({ mesh: { tensor: 2 } }, 6, 'redundancy.size', /3 data-parallel ranks/);
});

test("DeepSpeed's name means the same, and may not say another thing", () => {
  const zero_optimization = { stage: 2, mics_shard_size: 2 } as const;
  const named = resolveConfig({ train_batch_size: 12, zero_optimization }, { worldSize: 4 });
  assert.deepEqual(named.redundancy, GROUPS.redundancy);
  resolveConfig({ ...GROUPS, zero_optimization }, { worldSize: 4 });
  for (const redundancy of [{ type: 'groups', size: 4 }] as const) {
    refuses(
      { zero_optimization, redundancy },
      4,
      'zero_optimization.mics_shard_size',
      /two different things/,
    );
  }
  refuses(
    { redundancy: undefined, zero_optimization: { stage: 0, mics_shard_size: 2 } },
    4,
    'zero_optimization.stage',
    /nothing is divided/,
  );
});

test('what goes by one sum over all ranks is refused with the reason', () => {
  refuses(
    { optimizer: { type: 'OneBitAdam' }, zero_optimization: { stage: 1 } },
    4,
    'optimizer.type',
    /for one sum/,
  );
  refuses({ communication: { compression: 'one-bit' } }, 4, 'communication.compression', /for one sum/);
  refuses({ communication: { deterministic: true } }, 4, 'communication.deterministic', /order of all ranks/);
  refuses(
    { zero_optimization: { stage: 3, zero_quantized_gradients: true } },
    4,
    'zero_optimization.zero_quantized_gradients',
    /groups have two sums/,
  );
  resolveConfig({ ...GROUPS, communication: { compression: 'int8' } }, { worldSize: 4 });
});

test('a second copy is one of parameters that are divided, over ranks that are neighbours', () => {
  const redundancy = { type: 'secondary', size: 2 } as const;
  const zero_optimization = { stage: 3, zero_hpz_partition_size: 2 } as const;
  const named = resolveConfig({ train_batch_size: 12, zero_optimization }, { worldSize: 4 });
  assert.deepEqual(named.redundancy, redundancy);
  resolveConfig({ train_batch_size: 12, zero_optimization, redundancy }, { worldSize: 4 });
  for (const stage of [0, 1, 2] as const) {
    refuses({ redundancy, zero_optimization: { stage } }, 4, 'zero_optimization.stage', /one too many/);
  }
  refuses({ redundancy, zero_optimization: { stage: 3 } }, 3, 'redundancy.size', /groups of 2/);
  refuses({ zero_optimization }, 4, 'zero_optimization.zero_hpz_partition_size', /two different things/);
  const both = { ...zero_optimization, mics_shard_size: 2 };
  refuses({ zero_optimization: both }, 4, 'zero_optimization.mics_shard_size', /two different things/);
});

test('a single group is said to be no more than ZeRO', () => {
  assert.match(resolveObject(GROUPS, { worldSize: 2 }).notes.join(), /one group of 2/);
  assert.equal(resolveObject(GROUPS, { worldSize: 4 }).notes.join(), '');
});
