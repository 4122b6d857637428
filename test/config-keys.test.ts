import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, before, describe, test } from 'node:test';
import type { JsonObject, JsonValue } from '../src/base/json-document.js';
import { PlainDisplay } from '../src/cli/progress/plain-display.js';
import { compileStep } from '../src/engine/compile-step.js';
import { knownKeys } from '../src/engine/config/known-keys.js';
import { resolveConfig } from '../src/engine/config.js';
import { dataRanks } from '../src/engine/data-ranks.js';
import { deviceOf } from '../src/engine/device.js';
import { loneAxis } from '../src/engine/group-axis.js';
import { localModel } from '../src/engine/local-model.js';
import { measureBlocks } from '../src/engine/measure-blocks.js';
import { openModel } from '../src/engine/model-source.js';
import { planStages } from '../src/engine/stage-plan.js';
import { runTraining } from '../src/engine/train.js';
import { openTrainingData } from '../src/engine/training-data.js';
import { initialize, TrainyardError, type UserConfig } from '../src/index.js';
import { singleRank } from '../src/launch/environment.js';
import { planFlatLayout } from '../src/nn/flat-layout.js';
import { createSchedule } from '../src/optim/lr-schedules.js';
import { printReport } from '../src/step/print.js';
import { describeQueue } from '../src/store/direct-files/transfer-queue.js';
import { savingIn, savingTwoNames } from './checkpoint-observers.js';
import { leaves, withValue } from './key-paths.js';
import { lossScales, stepsUntilDivergence } from './overflow-observers.js';
import { OWN_BLOCKS_MODEL } from './own-blocks-model.js';
import { meeting, messages, transport } from './rank-observers.js';

// Every key that a configuration may hold does something: for each there are two values between which
// something outside of the configuration changes. A new key without a row here fails the first test.

const FIXTURES = join(import.meta.dirname, '../../test/fixtures/models');
const RANKS = 2;
const LENGTH = 8;
const VOCABULARY = 256;

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-keys-'));
  mkdirSync(join(root, 'nvme'));
  for (const [name, field] of [
    ['left', 'text'],
    ['right', 'words'],
  ] as const) {
    const lines = Array.from({ length: 12 }, (_, row) =>
      JSON.stringify({ text: `row ${row} of many`, words: `other words, ${row} of them`, field }),
    );
    writeFileSync(join(root, `${name}.jsonl`), `${lines.slice(name === 'left' ? 0 : 3).join('\n')}\n`);
  }
});
after(() => rmSync(root, { recursive: true }));

/** What shows the effect of a key: a text that depends on it. */
type Observer = (config: UserConfig) => string | Promise<string>;

interface Row {
  readonly key: string;
  readonly values: readonly [JsonValue, JsonValue];
  readonly observe: Observer;
  /** What stands beside the key. */
  readonly beside: JsonObject;
  /** The effect is that one of the two is refused. */
  readonly refuses: boolean;
}

const MODEL = {
  architecture: 'llama',
  vocab_size: VOCABULARY,
  hidden_size: 8,
  intermediate_size: 12,
  num_hidden_layers: 3,
  num_attention_heads: 2,
};

function base(): JsonObject {
  return { model: MODEL, train_batch_size: 8, gradient_clipping: 1 };
}

const schedule: Observer = (written) => {
  const { scheduler, optimizer } = resolveConfig(written);
  const { at } = createSchedule(scheduler, optimizer.params.lr);
  return JSON.stringify(Array.from({ length: 80 }, (_, step) => at(step)));
};

const training: Observer = (config) => {
  const engine = initialize({ config });
  const inputIds = Array.from({ length: 8 }, (_, row) =>
    Array.from({ length: LENGTH }, (_, i) => (row * 37 + i * 11) % VOCABULARY),
  );
  const steps = [1, 2, 3].map(() => engine.trainBatch({ inputIds }).loss);
  engine.close();
  return JSON.stringify(steps);
};

const LAYER_SPECS = { layer_specs: [{ patterns: ['widen'], partition_type: 'column' }] };

/** What one of two ranks has of a model without a table, or why it has not. */
const ownParts: Observer = (written) => {
  const config = resolveConfig(written, { worldSize: 2 });
  const { blocks } = localModel({ model: OWN_BLOCKS_MODEL }, config, loneAxis(2, false));
  return JSON.stringify(blocks.map(({ parameters }) => parameters.map(({ division }) => division?.runs)));
};

/** The programs of ranks that are each on a host of its own, with what they need and send. */
const programsOn =
  (ranks: number): Observer =>
  (written) => {
    const config = resolveConfig(written, { worldSize: ranks, requires: ['model'] });
    const { tensor, sequence_parallel: sequence } = config.mesh;
    const model = localModel(
      openModel(config),
      config,
      tensor === 1 ? undefined : loneAxis(tensor, sequence),
    );
    const layout = planFlatLayout(model.blocks, undefined, dataRanks(config));
    const shape = { rows: config.train_micro_batch_size_per_gpu, length: LENGTH };
    // Times that make no block a better choice than another, so that this depends on nothing else.
    const measured = measureBlocks(model, shape).map((costs) => ({ ...costs, forwardMs: 1 }));
    const hosts = Array.from({ length: ranks }, (_, rank) => [rank]);
    const stages = planStages({ config, model });
    const step = {
      config,
      model,
      layout,
      stages,
      goal: 'update',
      sequenceLength: LENGTH,
      measured,
      hosts,
    } as const;
    const compiled = compileStep(step);
    return compiled.programs
      .map((program, rank) => {
        const report = compiled.reports[rank];
        assert.ok(report);
        return (
          JSON.stringify(program.instructions) +
          JSON.stringify(program.buckets) +
          printReport(program, report)
        );
      })
      .join('\n');
  };

const programs = programsOn(RANKS);

const data: Observer = async (written) => {
  const config = resolveConfig(written, { requires: ['model', 'data'] });
  const { batches } = await openTrainingData(config, openModel(config), { rank: 0, worldSize: 1 });
  const first = [0, 1].map((step) => batches.microBatch(step, 0));
  return JSON.stringify(first.map(({ inputIds }) => [...inputIds].map(Number)));
};

/** A whole run: its steps, the lines that it prints, the folders that it leaves. */
const run: Observer = async (written) => {
  const configPath = join(root, 'run.json');
  writeFileSync(configPath, JSON.stringify(written));
  const lines: string[] = [];
  let steps = 0;
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      lines.push(chunk.toString());
      done();
    },
  });
  const display = new PlainDisplay(stream, () => 0);
  await runTraining({
    configPath,
    overrides: [],
    environment: singleRank(),
    sink: (event) => {
      if (event.event === 'step') {
        steps += 1;
        display.event({ ...event, step_ms: 1, tokens_per_second: 1 });
      }
      if (event.event === 'start') display.event(event);
    },
    signal: new AbortController().signal,
  });
  const folders = ['one', 'other'].filter((name) => existsSync(join(root, name)));
  const files = folders.map((name) => [name, filesUnder(join(root, name))]);
  for (const name of folders) rmSync(join(root, name), { recursive: true });
  return JSON.stringify([lines.length, steps, files]);
};

function filesUnder(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort();
}

const saving =
  (place: string): Observer =>
  (config) =>
    savingIn(join(root, place), config);

/** Where tensors are, or why they cannot be there. */
const device: Observer = (written) => deviceOf(resolveConfig(written).device, 0);

/** How files of offloaded memory are read and written where io_uring is allowed. */
const reading: Observer = (written) =>
  describeQueue({ engine: 'io_uring', isDirect: true }, resolveConfig(written).aio);

function rows(): readonly Row[] {
  const row = (key: string, values: Row['values'], observe: Observer, beside: JsonObject = {}): Row => ({
    key,
    values,
    observe,
    beside,
    refuses: false,
  });
  const refused = (key: string, values: Row['values'], observe: Observer, beside: JsonObject = {}): Row => ({
    ...row(key, values, observe, beside),
    refuses: true,
  });
  const optimizer = (type: string, name: string, values: Row['values'], params: JsonObject = {}): Row =>
    row(`optimizer[${type}].params.${name}`, values, training, {
      optimizer: { type, params: { lr: 0.01, ...params } },
    });
  const scheduler = (type: string, name: string, values: Row['values'], params: JsonObject = {}): Row =>
    row(`scheduler[${type}].params.${name}`, values, schedule, { steps: 60, scheduler: { type, params } });
  const zero = (name: string, values: Row['values'], beside: JsonObject = {}): Row =>
    row(`zero_optimization.${name}`, values, programs, { zero_optimization: beside });
  const text = { path: '', tokenizer: 'bytes', sequence_length: LENGTH };
  const onText = (name: string, values: Row['values'], beside: JsonObject = {}): Row =>
    row(`data.${name}`, values, data, { data: { ...text, path: join(root, 'left.jsonl'), ...beside } });
  const aRun = { steps: 3, data: { ...text, path: join(root, 'left.jsonl') } };

  const adam = (type: string): readonly Row[] => [
    optimizer(type, 'lr', [0.01, 0.02]),
    optimizer(type, 'betas', [
      [0.9, 0.99],
      [0.5, 0.9],
    ]),
    optimizer(type, 'eps', [1e-8, 1e-2]),
    optimizer(type, 'weight_decay', [0, 0.5]),
  ];
  const warmUp = (type: string, params: JsonObject = {}): readonly Row[] => [
    scheduler(type, 'warmup_num_steps', [10, 20], params),
    scheduler(type, 'warmup_type', ['log', 'linear'], { warmup_num_steps: 10, ...params }),
  ];
  const cycle = { cycle_min_lr: 0.1, cycle_max_lr: 1, cycle_first_step_size: 12 };
  const outer = (name: string, values: Row['values']): Row =>
    row(`redundancy[local].outer[nesterov].${name}`, values, training, {
      redundancy: { type: 'local', sync_every: 1, outer: { type: 'nesterov' } },
    });
  const fp16 = (name: string, values: Row['values'], beside: JsonObject = {}): Row =>
    row(`fp16.${name}`, values, lossScales, { fp16: { enabled: true, ...beside } });
  const bf16 = (section: string): readonly Row[] => [
    row(`${section}.enabled`, [true, false], programs),
    row(`${section}.check_grad_overflow`, [true, false], programs, { [section]: { enabled: true } }),
  ];
  const oneCycle = (name: string, values: Row['values'], params: JsonObject = {}): Row =>
    scheduler('OneCycle', name, values, { ...cycle, ...params });
  const rangeTest = (name: string, values: Row['values']): Row =>
    scheduler('LRRangeTest', name, values, { lr_range_test_step_size: 10 });

  const adapter = (name: string, values: Row['values'], observe: Observer = training): Row =>
    row(`adapter.${name}`, values, observe, { adapter: { type: 'lora', targets: ['q_proj'] } });

  const granularity = (policy: string, beside: JsonObject = {}): Row =>
    row(`recompute[${policy}].granularity`, ['block', 'half'], programs, {
      recompute: { policy, ...beside },
    });

  const stages = { mesh: { pipeline: 2 } };
  const byNames = (key: string, values: Row['values'], beside: JsonObject = {}): Row =>
    row(`tensor_parallel.partition_config.${key}`, values, ownParts, {
      mesh: { tensor: 2 },
      tensor_parallel: { partition_config: beside },
    });
  const files = { device: 'nvme', nvme_path: join(root, 'nvme') };
  const states = (name: string, values: Row['values']): Row =>
    zero(`offload_optimizer.${name}`, values, {
      stage: 2,
      sub_group_size: 2048,
      // Fewer than there are tiles.
      offload_optimizer: { ...files, buffer_count: 3 },
    });
  const weights = (name: string, values: Row['values'], beside: JsonObject = {}): Row =>
    zero(`offload_param.${name}`, values, { stage: 3, offload_param: { ...files, ...beside } });
  const aio = Object.entries({
    block_size: [4096, 8192],
    queue_depth: [8, 4],
    intra_op_parallelism: [1, 2],
    single_submit: [false, true],
    overlap_events: [true, false],
  } satisfies Record<string, Row['values']>).map(([name, values]) =>
    row(`aio.${name}`, values, reading, { zero_optimization: { stage: 1, offload_optimizer: files } }),
  );
  const offloading: readonly Row[] = [
    states('buffer_count', [1, 2]),
    states('pipeline_read', [true, false]),
    states('pipeline_write', [true, false]),
    states('ratio', [1, 0.5]),
    states('overlap_step', [false, true]),
    row('zero_optimization.sub_group_size', [2048, 4096], programs, {
      model: { ...MODEL, hidden_size: 32 },
      zero_optimization: { stage: 2, offload_optimizer: files },
    }),
    weights('buffer_count', [1, 2]),
    weights('buffer_size', [1, 100_000]),
    weights('max_in_cpu', [0, 1e6]),
    ...['offload_optimizer', 'offload_param'].flatMap((section): readonly Row[] => [
      zero(`${section}.device`, ['none', 'nvme'], { stage: 3, [section]: { nvme_path: root } }),
      refused(`zero_optimization.${section}.nvme_path`, [join(root, 'nvme'), join(root, 'none')], training, {
        zero_optimization: { stage: 3, [section]: { device: 'nvme' } },
      }),
      refused(`zero_optimization.${section}.pin_memory`, [true, false], programs, {
        zero_optimization: { stage: 3, [section]: { device: 'cpu' } },
      }),
    ]),
    refused('memory_limit', [1e9, 1000], programs),
    ...aio,
  ];
  return [
    ...offloading,
    adapter('targets', [['q_proj'], 'all-linear']),
    adapter('rank', [2, 4], programs),
    adapter('alpha', [1, 16]),
    adapter('dropout', [0, 0.5]),
    row('adapter.merge', [true, false], run, {
      ...aRun,
      output: join(root, 'one'),
      adapter: { type: 'lora', targets: ['q_proj'] },
    }),
    refused('adapter.path', [join(FIXTURES, '../adapters/llama'), join(root, 'none')], programs, {
      model: join(FIXTURES, 'llama-gqa-tied'),
      adapter: { type: 'lora' },
    }),
    row('model', [join(FIXTURES, 'qwen3'), join(FIXTURES, 'gpt2-relu')], programs),
    row('model.architecture', ['llama', 'qwen2'], programs, { model: { ...MODEL, num_key_value_heads: 2 } }),
    onText('path', [join(root, 'left.jsonl'), join(root, 'right.jsonl')]),
    { ...onText('tokenizer', ['bytes', join(root, 'none')]), refuses: true },
    onText('sequence_length', [8, 9]),
    onText('shuffle', [true, false]),
    onText('pack', [true, false]),
    onText('text_field', ['text', 'words']),
    row('non_finite.action', ['stop', 'skip'], programs),
    row('non_finite.limit', [1, 2], stepsUntilDivergence, {
      non_finite: { action: 'skip' },
      optimizer: { type: 'SGD', params: { lr: 1e38 } },
    }),
    row('steps', [1, 3], run, aRun),
    row('steps_per_print', [1, 2], run, { ...aRun, steps: 6 }),
    row('output', [join(root, 'one'), join(root, 'other')], run, aRun),
    row('checkpoint.interval', [1, 2], run, { ...aRun, output: join(root, 'one') }),
    row('checkpoint.keep', [2, 3], run, {
      ...{ ...aRun, steps: 5, output: join(root, 'one') },
      checkpoint: { interval: 1 },
    }),
    refused('checkpoint.replicate', [true, false], run, aRun),
    refused('checkpoint.on_failure', ['stop', 'warn'], saving('left.jsonl')),
    row('checkpoint.tag_validation', ['Warn', 'Fail'], savingTwoNames),
    row('checkpoint.writer.decoupled', [true, false], saving('saved')),
    row('seed', [1, 2], training),
    refused('device', ['cpu', 'cuda'], device),
    row('mesh.pipeline', [1, 2], programs),
    row('pipeline.schedule', ['gpipe', '1f1b'], programs, { ...stages, gradient_accumulation_steps: 2 }),
    refused('pipeline.chunks', [1, 2], programs, { ...stages, pipeline: { schedule: 'interleaved' } }),
    row(
      'pipeline.partition',
      [
        [1, 4],
        [2, 3],
      ],
      programs,
      stages,
    ),
    row('mesh.tensor', [1, 2], programs),
    row('mesh.sequence_parallel', [true, false], programs, { mesh: { tensor: 2 } }),
    row('tensor_parallel.autotp_size', [0, 2], programs),
    byNames('layer_specs', [
      [{ patterns: ['widen'], partition_type: 'column' }],
      [{ patterns: ['widen'], partition_type: 'column', sections: 2 }],
    ]),
    { ...byNames('strict_mode', [true, false], LAYER_SPECS), refuses: true },
    row('sequence_parallel_size', [1, 2], programs),
    row('communication.timeout_seconds', [0.2, 0.4], meeting),
    row('communication.algorithm', ['shared-memory', 'backend'], transport),
    row('communication.topology', [[[0, 1]], [[0], [1]]], transport),
    row('communication.topology.ranks_per_host', [1, 2], transport),
    row('communication.merge_below_ms', [0, 1000], messages, {
      zero_optimization: { reduce_bucket_size: 100 },
    }),
    row('communication.deterministic', [true, false], programs, { zero_optimization: { stage: 2 } }),
    row('communication.compression', ['none', 'fp16'], programs),
    row('communication.compression.type', ['fp16', 'bf16'], programs),
    row('communication.compression[fp16-static].scale', [65_536, 1024], programs, {
      communication: { compression: { type: 'fp16-static' } },
    }),
    row('communication.compression[int8].block_size', [64, 128], programs, {
      communication: { compression: { type: 'int8' } },
    }),
    row('communication.compression[int4].block_size', [32, 128], programs, {
      communication: { compression: { type: 'int4' } },
    }),
    row('communication_data_type', ['fp32', 'bf16'], programs),
    row('train_batch_size', [8, 16], programs, { train_micro_batch_size_per_gpu: 4 }),
    row('train_micro_batch_size_per_gpu', [2, 4], programs),
    row('gradient_accumulation_steps', [1, 2], programs),
    row('gradient_clipping', [0, 1], programs),
    ...adam('AdamW'),
    ...adam('Adam'),
    optimizer('Adam', 'adam_w_mode', [true, false], { weight_decay: 0.5 }),
    ...adam('OneBitAdam'),
    optimizer('OneBitAdam', 'freeze_step', [1, 2]),
    optimizer('SGD', 'lr', [0.1, 0.2]),
    optimizer('SGD', 'momentum', [0, 0.9]),
    optimizer('SGD', 'dampening', [0, 0.5], { momentum: 0.9 }),
    optimizer('SGD', 'nesterov', [true, false], { momentum: 0.9 }),
    optimizer('SGD', 'weight_decay', [0, 0.5]),
    optimizer('Lion', 'lr', [0.1, 0.2]),
    optimizer('Lion', 'betas', [
      [0.9, 0.99],
      [0.9, 0.1],
    ]),
    optimizer('Lion', 'weight_decay', [0, 0.5]),
    optimizer('Adagrad', 'lr', [0.1, 0.2]),
    optimizer('Adagrad', 'lr_decay', [0, 0.5]),
    optimizer('Adagrad', 'eps', [1e-10, 1]),
    optimizer('Adagrad', 'weight_decay', [0, 0.5]),
    ...warmUp('WarmupLR'),
    scheduler('WarmupLR', 'warmup_min_lr', [0, 1e-4], { warmup_num_steps: 10 }),
    scheduler('WarmupLR', 'warmup_max_lr', [1, 2], { warmup_num_steps: 10 }),
    ...warmUp('WarmupDecayLR'),
    scheduler('WarmupDecayLR', 'total_num_steps', [50, 60], { warmup_num_steps: 10 }),
    scheduler('WarmupDecayLR', 'warmup_min_lr', [0, 1e-4], { warmup_num_steps: 10 }),
    scheduler('WarmupDecayLR', 'warmup_max_lr', [1, 2], { warmup_num_steps: 10 }),
    ...warmUp('WarmupCosineLR'),
    scheduler('WarmupCosineLR', 'total_num_steps', [50, 60], { warmup_num_steps: 10 }),
    scheduler('WarmupCosineLR', 'warmup_min_ratio', [0, 0.1], { warmup_num_steps: 10 }),
    scheduler('WarmupCosineLR', 'cos_min_ratio', [0, 0.1], { warmup_num_steps: 10 }),
    oneCycle('cycle_min_lr', [0.1, 0.2]),
    oneCycle('cycle_max_lr', [1, 2]),
    oneCycle('cycle_first_step_size', [10, 12]),
    oneCycle('cycle_second_step_size', [10, 20]),
    oneCycle('cycle_first_stair_count', [0, 4]),
    oneCycle('cycle_second_stair_count', [0, 4]),
    oneCycle('decay_lr_rate', [0.2, 0.5], { decay_step_size: 5 }),
    oneCycle('decay_step_size', [5, 6], { decay_lr_rate: 0.5 }),
    oneCycle('cycle_momentum', [true, false]),
    oneCycle('cycle_min_mom', [0.7, 0.8]),
    oneCycle('cycle_max_mom', [0.9, 0.95]),
    oneCycle('decay_mom_rate', [0.02, 0.01], { decay_step_size: 5 }),
    rangeTest('lr_range_test_min_lr', [1, 2]),
    rangeTest('lr_range_test_step_size', [10, 20]),
    rangeTest('lr_range_test_step_rate', [1, 2]),
    rangeTest('lr_range_test_staircase', [true, false]),
    zero('stage', [1, 2]),
    zero('reduce_bucket_size', [500, 5000]),
    zero('overlap_comm', [true, false], { stage: 2 }),
    zero('stage3_prefetch_bucket_size', [0, 10_000], { stage: 3 }),
    zero('stage3_max_live_parameters', [1, 100_000], { stage: 3 }),
    zero('stage3_param_persistence_threshold', [0, 10_000], { stage: 3 }),
    zero('stage3_max_reuse_distance', [0, 100_000], { stage: 3, stage3_param_persistence_threshold: 0 }),
    zero('stage3_model_persistence_threshold', [0, 100_000], {
      stage: 3,
      stage3_param_persistence_threshold: 10_000,
    }),
    zero('zero_quantized_weights', [true, false], { stage: 3 }),
    zero('zero_quantized_gradients', [true, false], { stage: 3 }),
    row('zero_optimization.mics_shard_size', [-1, 2], programsOn(4), { zero_optimization: { stage: 2 } }),
    row('zero_optimization.zero_hpz_partition_size', [1, 2], programsOn(4), {
      zero_optimization: { stage: 3, stage3_param_persistence_threshold: 0 },
    }),
    row('redundancy[secondary].size', [2, 4], programsOn(4), {
      zero_optimization: { stage: 3, stage3_param_persistence_threshold: 0 },
      redundancy: { type: 'secondary' },
    }),
    row('redundancy[groups].size', [2, 4], programsOn(4), {
      zero_optimization: { stage: 2 },
      redundancy: { type: 'groups' },
    }),
    row('redundancy[local].sync_every', [1, 2], training, { redundancy: { type: 'local' } }),
    outer('lr', [0.7, 0.5]),
    outer('momentum', [0, 0.9]),
    ...bf16('bf16'),
    ...bf16('bfloat16'),
    row('fp16.enabled', [true, false], programs),
    fp16('loss_scale', [0, 8]),
    fp16('initial_scale_power', [4, 8]),
    fp16('loss_scale_window', [2, 5]),
    fp16('hysteresis', [1, 2]),
    fp16('consecutive_hysteresis', [true, false], { loss_scale_window: 5 }),
    fp16('min_loss_scale', [1, 65_536]),
    row('recompute[selected].every', [1, 2], programs, { recompute: { policy: 'selected' } }),
    row('recompute[selected].blocks', [['model.layers.1'], ['model.layers.*']], programs, {
      recompute: { policy: 'selected' },
    }),
    refused('recompute[on-demand].limit_bytes', [1, 10_000_000], programs, {
      recompute: { policy: 'on-demand' },
    }),
    refused('recompute[budget].budget_bytes', [1, 10_000_000], programs, { recompute: { policy: 'budget' } }),
    granularity('always'),
    granularity('selected', { every: 2 }),
    granularity('on-demand', { limit_bytes: 10_000_000 }),
    granularity('budget', { budget_bytes: 10_000_000 }),
    row('pipeline.activation_checkpoint_interval', [0, 1], programs),
    row('activation_checkpointing.cpu_checkpointing', [true, false], programs, {
      device: 'cuda',
      recompute: { policy: 'always' },
    }),
  ];
}

/** Keys for other programs. */
const FOR_EDITORS = ['$schema'];

describe('every key of a configuration acts', { concurrency: 1 }, () => {
  test('every key has its row, and every row its key', () => {
    const keys = leaves(knownKeys.schema, '');
    assert.deepEqual(
      rows()
        .map(({ key }) => key)
        .sort(),
      keys.filter((key) => !FOR_EDITORS.includes(key)).sort(),
    );
  });

  for (const [index, { key }] of rows().entries()) {
    test(key, async () => {
      // Made again: the folder is known only now.
      const row = rows()[index];
      assert.ok(row);
      const [left, right] = row.values;
      const one = await observed(row, left);
      const other = await observed(row, right);
      assert.notEqual(
        one,
        other,
        `${JSON.stringify(left)} and ${JSON.stringify(right)} come to the same: ${one}`,
      );
      assert.equal(await observed(row, left), one, 'the same comes to the same');
    });
  }
});

async function observed({ key, observe, beside, refuses }: Row, value: JsonValue): Promise<string> {
  const path = key.replaceAll(/\[[^\]]*\]/g, '').split('.');
  try {
    return await observe(withValue({ ...base(), ...beside }, path, value) as UserConfig);
  } catch (error) {
    if (refuses && error instanceof TrainyardError) return error.code;
    throw error;
  }
}
