import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../../base/errors.js';
import { resolveConfig, resolveObject, type UserConfig } from '../config.js';

const LOCAL = { type: 'local' } as const;

function refuses(config: UserConfig, code: string, where: string, says: RegExp): void {
  assert.throws(
    () => resolveConfig({ train_batch_size: 4, ...config }, { worldSize: 2 }),
    (error) => {
      assert(error instanceof TrainyardError);
      assert.equal(error.code, code);
      assert.ok(error.report.where?.includes(where), error.message);
      assert.match(error.message, says);
      return true;
    },
  );
}

test('what is left out is as in DiLoCo', () => {
  const { redundancy } = resolveConfig({ train_batch_size: 4, redundancy: LOCAL }, { worldSize: 2 });
  assert.deepEqual(redundancy, {
    type: 'local',
    sync_every: 500,
    outer: { type: 'nesterov', lr: 0.7, momentum: 0.9 },
  });
});

test('what local replicas cannot go with is refused with the reason', () => {
  for (const stage of [1, 2, 3] as const) {
    refuses(
      { redundancy: LOCAL, zero_optimization: { stage } },
      'CONFIG_CONFLICT',
      'zero_optimization.stage',
      /all of the training state/,
    );
  }
  refuses({ redundancy: LOCAL, mesh: { tensor: 2 } }, 'CONFIG_CONFLICT', 'mesh', /divided over a mesh/);
  refuses(
    { redundancy: LOCAL, optimizer: { type: 'OneBitAdam' } },
    'CONFIG_CONFLICT',
    'optimizer.type',
    /sum nothing/,
  );
});

test('keys about what travels in a step are refused where nothing does', () => {
  const idle: readonly (readonly [string, UserConfig])[] = [
    ['communication.compression', { communication: { compression: 'fp16' } }],
    ['communication.deterministic', { communication: { deterministic: true } }],
    ['communication_data_type', { communication_data_type: 'bf16' }],
    ['zero_optimization.reduce_bucket_size', { zero_optimization: { reduce_bucket_size: 1000 } }],
    ['zero_optimization.overlap_comm', { zero_optimization: { overlap_comm: false } }],
  ];
  for (const [key, beside] of idle) {
    refuses({ redundancy: LOCAL, ...beside }, 'CONFIG_CONFLICT', key, /has no effect beside redundancy/);
    resolveConfig({ train_batch_size: 4, ...beside }, { worldSize: 2 });
  }
  resolveConfig(
    { train_batch_size: 4, redundancy: LOCAL, communication: { compression: 'none', deterministic: false } },
    { worldSize: 2 },
  );
});

test('replicas that never meet have no outer optimizer', () => {
  const never = { type: 'local', sync_every: 'never' } as const;
  resolveConfig({ train_batch_size: 4, redundancy: never }, { worldSize: 2 });
  refuses(
    { redundancy: { ...never, outer: { type: 'average' } } },
    'CONFIG_CONFLICT',
    'redundancy.outer',
    /while redundancy\.sync_every is "never"/,
  );
});

test('a run that would end with its replicas apart says so', () => {
  const notesOf = (steps: number, sync_every: number | 'never'): string =>
    resolveObject(
      { train_batch_size: 4, steps, output: 'out', redundancy: { type: 'local', sync_every } },
      { worldSize: 2 },
    ).notes.join();
  assert.equal(notesOf(100, 50), '');
  assert.match(notesOf(120, 50), /120 is no multiple of sync_every 50.+replica of rank 0/);
  assert.match(notesOf(100, 'never'), /never brought together/);
});

test('wrong values and names are named', () => {
  const written = (redundancy: object): UserConfig =>
    JSON.parse(JSON.stringify({ redundancy })) as UserConfig;
  refuses(written({ type: 'local', sync_every: 0 }), 'CONFIG_INVALID', 'redundancy.sync_every', /never/);
  refuses(written({ type: 'local', every: 5 }), 'CONFIG_INVALID', 'redundancy.every', /./);
  refuses(
    written({ type: 'local', outer: { type: 'average', lr: 1 } }),
    'CONFIG_INVALID',
    'redundancy.outer.lr',
    /./,
  );
  refuses(
    written({ type: 'local', outer: { type: 'nesterov', momentum: 1 } }),
    'CONFIG_INVALID',
    'redundancy.outer.momentum',
    /< 1/,
  );
  refuses(written({ type: 'everything' }), 'CONFIG_INVALID', 'redundancy.type', /./);
});
