import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { configToSave, modelFromConfig } from '../models/registry.js';
import type { LoadedCheckpoint } from '../store/checkpoint.js';
import { inBothForms } from '../store/hugging-face/config-forms.js';
import { resolveConfig, type UserConfig } from './config.js';
import { openModel } from './model-source.js';
import { demandSameRun, identityToSave, runIdentity } from './run-identity.js';

const CONFIG: UserConfig = {
  model: {
    architecture: 'llama',
    vocab_size: 64,
    hidden_size: 16,
    num_attention_heads: 2,
    num_hidden_layers: 1,
  },
  train_batch_size: 4,
  seed: 5,
};
const DATA = { path: 'abc', sequence_length: 16, pack: true, shuffle: false };

const identityOf = (changes: object, data: object | undefined = {}) => {
  const config = resolveConfig({ ...CONFIG, ...changes }, { requires: ['model'] });
  return runIdentity(config, openModel(config), data && { ...DATA, ...data });
};

/** A checkpoint that a run of this identity has left. */
function checkpointOf(identity: ReturnType<typeof identityOf>): LoadedCheckpoint {
  const extra = JSON.parse(JSON.stringify(identityToSave(identity))) as LoadedCheckpoint['state']['extra'];
  return {
    tag: 'step-3',
    state: { step: 3, data: { seed: 5, position: 12 }, random: {}, model: null, extra },
    names: [],
    read: () => assert.fail('no tensor is wanted'),
    passedOver: [],
  };
}

/** A difference, what it is in the checkpoint, and what it is now. */
const DIFFERENCES: readonly (readonly [
  key: string,
  saved: string,
  own: string,
  changes: object,
  data?: object,
])[] = [
  ['seed', 'seed 5', 'seed 6', { seed: 6 }],
  ['train_batch_size', 'train_batch_size 4', 'train_batch_size 8', { train_batch_size: 8 }],
  ['optimizer.type', 'optimizer.type "AdamW"', 'optimizer.type "Lion"', { optimizer: { type: 'Lion' } }],
  [
    'model.hidden_size',
    'model.hidden_size 16',
    'model.hidden_size 32',
    { model: { ...(CONFIG.model as object), hidden_size: 32 } },
  ],
  [
    'adapter',
    'adapter "none"',
    'adapter {"alpha":8,"dropout":0,"rank":4',
    { adapter: { type: 'lora', rank: 4, targets: ['q_proj'] } },
  ],
  ['data.path', 'data.path "abc"', 'data.path "abd"', {}, { path: 'abd' }],
  ['data.sequence_length', 'sequence_length 16', 'sequence_length 8', {}, { sequence_length: 8 }],
  ['data.pack', 'data.pack true', 'data.pack false', {}, { pack: false }],
  ['data.shuffle', 'data.shuffle false', 'data.shuffle true', {}, { shuffle: true }],
];

for (const [key, saved, own, changes, data] of DIFFERENCES) {
  test(`another ${key} is another run`, () => {
    const checkpoint = checkpointOf(identityOf({}));
    assert.throws(
      () => demandSameRun(checkpoint, identityOf(changes, data)),
      (error) => {
        assert.ok(error instanceof TrainyardError, String(error));
        assert.equal(error.code, 'CONFIG_CONFLICT');
        assert.equal(error.report.where, key);
        assert.ok(error.report.expected?.includes(saved), error.report.expected);
        assert.ok(error.report.got?.includes(own), error.report.got);
        return true;
      },
    );
  });
}

test('what does not make another run may change', () => {
  const checkpoint = checkpointOf(identityOf({}));
  const changes = [
    { optimizer: { type: 'AdamW', params: { lr: 1 } } },
    { optimizer: { type: 'Adam' } },
    { scheduler: { type: 'WarmupLR' } },
    { gradient_clipping: 0 },
    { gradient_accumulation_steps: 2 },
    { steps: 9 },
    { zero_optimization: { stage: 2 } },
    { model: { ...(CONFIG.model as object), transformers_version: '5', torch_dtype: 'bfloat16' } },
    { model: { ...Object.fromEntries(Object.entries(CONFIG.model as object).reverse()) } },
  ];
  for (const change of changes) demandSameRun(checkpoint, identityOf(change));
});

test('a model that was saved and is trained further is the same', () => {
  const config = resolveConfig(CONFIG, { requires: ['model'] });
  const source = openModel(config);
  const saved = { model: modelFromConfig(inBothForms(configToSave(source.model, 'float32'))) };
  demandSameRun(checkpointOf(identityOf({})), runIdentity(config, saved, DATA));
});

test('data that only one of the two knows is not compared', () => {
  demandSameRun(checkpointOf(identityOf({})), identityOf({}, undefined));
  demandSameRun(checkpointOf(identityOf({}, undefined)), identityOf({}));
});
