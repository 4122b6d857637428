import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { planFlatLayout } from '../nn/flat-layout.js';
import { compileStep, type StepToCompile, tryBlocks } from './compile-step.js';
import { resolveConfig, type UserConfig } from './config.js';
import { openModel } from './model-source.js';

const MODEL = {
  architecture: 'llama',
  vocab_size: 512,
  hidden_size: 64,
  intermediate_size: 128,
  // Of which the tiles of an update are a part.
  num_hidden_layers: 20,
  num_attention_heads: 4,
} as const;

function stepOf(beside: UserConfig): StepToCompile {
  const written = { model: MODEL, train_batch_size: 1, ...beside };
  const config = resolveConfig(written, { requires: ['model'] });
  const { model } = openModel(config);
  const step = {
    config,
    model,
    layout: planFlatLayout(model.blocks),
    goal: 'update',
    sequenceLength: 16,
  } as const;
  return { ...step, tried: tryBlocks(step) };
}

/** The least that `memory_limit` may say. */
function needed(beside: UserConfig): number {
  const [report] = compileStep(stepOf(beside)).reports;
  assert.ok(report);
  return report.peak.bytes;
}

function refusal(beside: UserConfig): TrainyardError['report'] {
  let caught: unknown;
  try {
    compileStep(stepOf(beside));
  } catch (error) {
    caught = error;
  }
  assert.ok(caught instanceof TrainyardError, 'it is not refused');
  assert.equal(caught.code, 'CONFIG_CONFLICT');
  return caught.report;
}

const FILES = { device: 'nvme', nvme_path: '/local_nvme' } as const;
const EVERYTHING = { stage: 3, offload_optimizer: FILES, offload_param: FILES } as const;

test('a run fits its limit to the byte, and one byte less is refused by how much', () => {
  const bytes = needed({});
  compileStep(stepOf({ memory_limit: bytes }));
  const { what, got, where } = refusal({ memory_limit: bytes - 1 });
  assert.match(what, /^A rank would take 1 MiB more/);
  assert.equal(where, 'memory_limit');
  assert.equal(got, `${bytes - 1} bytes`);
});

test('the keys that would make it fit are those that do', () => {
  const [plain, states, everything] = [
    needed({}),
    needed({ zero_optimization: { stage: 1, offload_optimizer: FILES } }),
    needed({ zero_optimization: EVERYTHING }),
  ];
  assert.ok(everything < states && states < plain);
  const forStates = refusal({ memory_limit: states }).cure ?? '';
  assert.match(forStates, /zero_optimization\.stage 1, offload_optimizer\.device "nvme"/);
  assert.doesNotMatch(forStates, /buffer_count|always/, 'what fits is not changed further');
  const recompute = { policy: 'always' } as const;
  const fewTiles = { ...FILES, buffer_count: 3 } as const;
  const leastOfStates = needed({ recompute, zero_optimization: { stage: 1, offload_optimizer: fewTiles } });
  const forFewTiles = refusal({ recompute, memory_limit: leastOfStates }).cure ?? '';
  assert.match(forFewTiles, /stage 1, offload_optimizer\.device "nvme", offload_optimizer\.buffer_count 3/);
  const forEverything = refusal({ recompute, memory_limit: leastOfStates - 1 }).cure ?? '';
  assert.doesNotMatch(forEverything, /stage 1/);
  assert.match(forEverything, /stage 3, offload_optimizer and offload_param/);
  compileStep(stepOf({ memory_limit: everything, zero_optimization: EVERYTHING }));
  const { cure = '' } = refusal({ memory_limit: everything - 1, zero_optimization: EVERYTHING });
  assert.match(cure, /offload_optimizer\.buffer_count 3/);
});

test('where nothing would help the least that is possible is said', () => {
  const { cure = '' } = refusal({ memory_limit: 1000, zero_optimization: EVERYTHING });
  assert.match(
    cure,
    /^With recompute\.policy "always", offload_optimizer\.buffer_count 3 it takes \d+ MiB\. Take a smaller micro-batch/,
  );
});
