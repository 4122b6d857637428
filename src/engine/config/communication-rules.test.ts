import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../../base/errors.js';
import { ALGORITHM_NAMES } from '../../comm/algorithm.js';
import { resolveConfig, resolveObject, type UserConfig } from '../config.js';

type Communication = NonNullable<UserConfig['communication']>;

function resolved(communication: Communication, worldSize = 4, beside: UserConfig = {}): Communication {
  return resolveConfig({ train_batch_size: 4 * worldSize, communication, ...beside }, { worldSize })
    .communication;
}

function refuses(communication: Communication, says: RegExp, worldSize = 4, beside: UserConfig = {}): void {
  assert.throws(
    () => resolved(communication, worldSize, beside),
    (error) => {
      assert(error instanceof TrainyardError);
      assert.equal(error.code, 'CONFIG_CONFLICT');
      assert.match(error.message, says);
      return true;
    },
  );
}

test('algorithms go by their names, alone or with a topology', () => {
  for (const algorithm of ALGORITHM_NAMES) {
    assert.equal(resolved({ algorithm }).algorithm, algorithm);
    resolved({ algorithm, topology: { ranks_per_host: 3 } });
  }
  resolved({
    topology: [
      [3, 1],
      [0, 2],
    ],
  });
});

test('sums in the order of ranks exclude an algorithm that has another', () => {
  for (const algorithm of ALGORITHM_NAMES)
    refuses({ algorithm, deterministic: true }, /order of ranks, as communication\.deterministic asks/);
  for (const algorithm of ['auto', 'backend', 'shared-memory'] as const)
    resolved({ algorithm, deterministic: true });
});

test('a topology has every rank once', () => {
  refuses({ topology: [[0, 1], [2]] }, /rank 3 is on no host/);
  refuses({ topology: [[0, 1, 2, 3, 4]] }, /there is no rank 4 among 4/);
  refuses(
    {
      topology: [
        [0, 1, 2],
        [2, 3],
      ],
    },
    /rank 2 is there twice/,
  );
  // What several are started with, one may read.
  resolved(
    {
      topology: [
        [0, 1],
        [2, 3],
      ],
    },
    1,
  );
});

test('an algorithm must work with the topology', () => {
  refuses(
    { algorithm: 'hierarchical', topology: [[0, 1, 2, 3]] },
    /"hierarchical" cannot work .* all ranks are on one/,
  );
  refuses({ algorithm: 'shared-memory', topology: { ranks_per_host: 2 } }, /share no memory/);
  resolved({ algorithm: 'shared-memory', topology: { ranks_per_host: 4 } });
  resolved({ algorithm: 'hierarchical', topology: { ranks_per_host: 4 } }, 1);
});

test('a topology beside the backend would do nothing', () => {
  refuses(
    { algorithm: 'backend', topology: { ranks_per_host: 2 } },
    /has no effect while communication\.algorithm is/,
  );
  // Unless something is quantized between hosts.
  const zero_optimization = { stage: 3, zero_quantized_gradients: true } as const;
  resolved({ algorithm: 'backend', topology: { ranks_per_host: 2 } }, 4, { zero_optimization });
});

test('a compression is a name or an object, and says what it takes', () => {
  assert.deepEqual(resolved({ compression: { type: 'one-bit' } }).compression, { type: 'one-bit' });
  assert.throws(
    () => resolved({ compression: { type: 'int8', block_size: 100 } }),
    /an integer ≥ 32 and ≤ 65536, a multiple of 32/,
  );
});

test('one bit beside an optimizer whose second moment it spoils is accepted, with a note that names the better one', () => {
  const notesOf = (type: 'AdamW' | 'SGD', stage: 0 | 2, worldSize = 4) =>
    resolveObject(
      {
        train_batch_size: 4,
        optimizer: { type },
        zero_optimization: { stage },
        communication: { compression: 'one-bit' },
      },
      { worldSize },
    ).notes.join();
  assert.match(
    notesOf('AdamW', 0),
    /"one-bit" beside AdamW: .*"OneBitAdam" sends as few bytes and keeps up \(/,
  );
  assert.match(notesOf('AdamW', 2), /"OneBitAdam" .* takes zero_optimization\.stage 0 or 1 \(here 2\)/);
  assert.deepEqual([notesOf('SGD', 0), notesOf('AdamW', 0, 1)], ['', '']);
});

test('what is on a GPU goes by the backend', () => {
  for (const algorithm of [...ALGORITHM_NAMES, 'shared-memory'] as const)
    refuses({ algorithm }, /tensors are on a GPU/, 4, { device: 'cuda' });
  resolved({ algorithm: 'backend' }, 4, { device: 'cuda' });
});
