import { badMeshes } from './bad-meshes.js';
import { badPolicies } from './bad-policies.js';

/** One wrong configuration: what it changes in a good one, and what the error must say. */
export interface BadConfiguration {
  readonly name: string;
  /** Keys put over those of a good configuration, one level deep; undefined takes a key away. */
  readonly keys?: Readonly<Record<string, unknown>>;
  /** The file's whole text, where no good configuration is the base. */
  readonly text?: string | Buffer;
  /** `--set` flags. */
  readonly set?: readonly string[];
  /** All ranks of the run. */
  readonly ranks?: number;
  readonly code: string;
  /** Parts of the error message: the key, the place, the nearest name. */
  readonly says: readonly string[];
}

/** The configuration that the table below spoils. */
export const goodConfiguration = {
  model: { architecture: 'llama', hidden_size: 32 },
  data: { path: 'corpus.txt', tokenizer: 'bytes', sequence_length: 32 },
  steps: 2,
  train_batch_size: 8,
} as const;

/** Wrong configurations, each with the one error that it must lead to. */
export const badConfigurations: readonly BadConfiguration[] = [
  ...badAdapters(),
  ...unknownKeys(),
  ...wrongValues(),
  ...impossibleTogether(),
  ...notSupported(),
  ...unreadable(),
  ...badFlags(),
];

function unknownKeys(): BadConfiguration[] {
  const row = (name: string, keys: object, ...says: string[]): BadConfiguration => ({
    name: `unknown key: ${name}`,
    keys: { ...keys },
    code: 'CONFIG_INVALID',
    says: ['Unknown key', ...says],
  });
  return [
    row('at the top', { banana: 1 }, '"banana"', 'banana (', 'Remove it'),
    row('short, and nothing like a key that is refused', { foo: 1 }, '"foo"', 'Remove it'),
    row('a slip in a key that is refused', { fp61: {} }, 'Did you mean "fp16"'),
    row('a slip at the top', { zero_optimisation: {} }, 'Did you mean "zero_optimization"'),
    row('in camel case', { trainBatchSize: 8 }, 'Did you mean "train_batch_size"'),
    row('that lives elsewhere', { lr: 1e-3 }, 'Did you mean "optimizer.params.lr"'),
    row('in data', { data: { path: 'a', seqence_length: 3 } }, 'data.seqence_length', '"sequence_length"'),
    row('in mesh', { mesh: { tensr: 1 } }, 'mesh.tensr', '"tensor"'),
    row('in communication', { communication: { algoritm: 'ring' } }, '"algorithm"'),
    row('in zero_optimization', { zero_optimization: { stge: 0 } }, 'zero_optimization.stge', '"stage"'),
    row('in optimizer', { optimizer: { type: 'SGD', parms: {} } }, 'optimizer.parms', '"params"'),
    row(
      'in optimizer.params',
      { optimizer: { type: 'AdamW', params: { weigth_decay: 0 } } },
      '"weight_decay"',
    ),
    row(
      'of another optimizer',
      { optimizer: { type: 'SGD', params: { betas: [0, 0] } } },
      'optimizer.params.betas',
    ),
    row(
      'in scheduler.params',
      { scheduler: { type: 'WarmupLR', params: { warmup_num_step: 3 } } },
      '"warmup_num_steps"',
    ),
    row(
      'in a section that is off',
      { fp16: { enabled: false, los_scale: 0 } },
      'fp16.los_scale',
      '"loss_scale"',
    ),
    row(
      'in offload',
      { zero_optimization: { offload_param: { device: 'none', nvme: 'x' } } },
      'offload_param.nvme',
    ),
    row(
      'two levels down',
      { timers: { throughput: { enable: true } } },
      'timers.throughput.enable',
      '"enabled"',
    ),
  ];
}

function wrongValues(): BadConfiguration[] {
  const row = (name: string, keys: object, ...says: string[]): BadConfiguration => ({
    name: `wrong value: ${name}`,
    keys: { ...keys },
    code: 'CONFIG_INVALID',
    says,
  });
  const adam = (params: object) => ({ optimizer: { type: 'AdamW', params } });
  return [
    row('a text for a number', { steps: 'ten' }, 'steps (', 'an integer ≥ 1', 'got       "ten"'),
    row('a fraction for a count', { steps: 2.5 }, 'an integer ≥ 1', '2.5'),
    row('zero steps', { steps: 0 }, 'an integer ≥ 1'),
    row('null', { steps: null }, 'steps', 'got       null'),
    row('a negative seed', { seed: -1 }, 'seed', '≥ 0'),
    row('a seed too large', { seed: 2 ** 40 }, 'seed', '≤ 4294967295'),
    row('a device', { device: 'gpu' }, '"cpu", "cuda"', 'got       "gpu"'),
    row('an empty output', { output: '' }, 'output', 'non-empty text'),
    row('a list for the model', { model: [] }, 'model', 'non-empty text or an object'),
    row('a model without architecture', { model: { hidden_size: 3 } }, 'model.architecture is missing'),
    row('data as text', { data: 'corpus.txt' }, 'data', 'an object'),
    row('data without a path', { data: { tokenizer: 'bytes' } }, 'data.path is missing'),
    row('an empty list of paths', { data: { path: [] } }, 'data.path', 'at least 1'),
    row('a number among paths', { data: { path: ['a', 3] } }, 'data.path[1]'),
    row('a sequence of one', { data: { path: 'a', sequence_length: 1 } }, 'data.sequence_length', '≥ 2'),
    row('shuffle as text', { data: { path: 'a', shuffle: 'yes' } }, 'true or false'),
    row('a batch of zero', { train_batch_size: 0 }, 'train_batch_size', '≥ 1'),
    row('a batch as text', { train_batch_size: '8' }, 'train_batch_size', 'got       "8"'),
    row('an optimizer as text', { optimizer: 'AdamW' }, 'optimizer', 'an object'),
    row('an optimizer without type', { optimizer: { params: {} } }, 'optimizer.type is missing', '"AdamW"'),
    row('an optimizer nobody has', { optimizer: { type: 'AdamX' } }, 'optimizer.type', 'Did you mean "Adam'),
    row('a negative learning rate', adam({ lr: -1 }), 'optimizer.params.lr', '≥ 0'),
    row('one beta', adam({ betas: [0.9] }), 'optimizer.params.betas', 'a list of 2'),
    row('a beta of one', adam({ betas: [0.9, 1] }), 'optimizer.params.betas[1]', '< 1'),
    row('an eps of zero', adam({ eps: 0 }), 'optimizer.params.eps', '> 0'),
    row('a schedule nobody has', { scheduler: { type: 'WarmupCosinLR' } }, 'Did you mean "WarmupCosineLR"'),
    row(
      'a warm-up shape',
      { scheduler: { type: 'WarmupLR', params: { warmup_type: 'cubic' } } },
      '"log", "linear"',
    ),
    row('a cycle without bounds', { scheduler: { type: 'OneCycle' } }, 'scheduler.params is missing'),
    row('negative clipping', { gradient_clipping: -1 }, 'gradient_clipping', '≥ 0'),
    row('a stage', { zero_optimization: { stage: 4 } }, 'zero_optimization.stage', 'one of 0, 1, 2, 3'),
    row('a stage as text', { zero_optimization: { stage: '0' } }, 'zero_optimization.stage', '"0"'),
    row('zero_optimization as a switch', { zero_optimization: true }, 'zero_optimization', 'an object'),
    row('an empty bucket', { zero_optimization: { reduce_bucket_size: 0 } }, 'reduce_bucket_size', '≥ 1'),
    row('a negative power', { fp16: { initial_scale_power: -1 } }, 'fp16.initial_scale_power', '≥ 0'),
    row('a power that fp32 has not', { fp16: { initial_scale_power: 128 } }, 'initial_scale_power', '120'),
    row('a power of a half', { fp16: { initial_scale_power: 0.5 } }, 'fp16.initial_scale_power', 'integer'),
    row('an empty window', { fp16: { loss_scale_window: 0 } }, 'fp16.loss_scale_window', '≥ 1'),
    row('a negative loss scale', { fp16: { loss_scale: -2 } }, 'fp16.loss_scale', '≥ 0'),
    row('no hysteresis', { fp16: { hysteresis: 0 } }, 'fp16.hysteresis', '≥ 1'),
    row('a smallest scale of zero', { fp16: { min_loss_scale: 0 } }, 'fp16.min_loss_scale', '≥ 1'),
    row('a switch as text', { fp16: { enabled: 'yes' } }, 'fp16.enabled', 'true or false'),
    row('a section as a switch', { bf16: true }, 'bf16', 'an object'),
    row('a type in a section that is off', { fp16: { loss_scale: 'x' } }, 'fp16.loss_scale', 'a number'),
    row(
      'a deadline of zero',
      { communication: { timeout_seconds: 0 } },
      'communication.timeout_seconds',
      '> 0',
    ),
    row(
      'an unknown compression',
      { communication: { compression: 'fp17' } },
      'communication.compression',
      '"fp16-dynamic"',
    ),
    row(
      'a scale of zero',
      { communication: { compression: { type: 'fp16-static', scale: 0 } } },
      'communication.compression.scale',
      'got       0',
    ),
    row(
      'a scale for a scheme that has none',
      { communication: { compression: { type: 'bf16', scale: 2 } } },
      'communication.compression',
      'Remove it; it goes with type "fp16-static".',
    ),
    row(
      'a dtype that gradients cannot travel in',
      { communication_data_type: 'int8' },
      'communication_data_type',
      '"bf16"',
    ),
    row('a mesh axis of zero', { mesh: { tensor: 0 } }, 'mesh.tensor', '≥ 1'),
    {
      name: 'wrong value: an infinite learning rate',
      text: '{"optimizer": {"type": "AdamW", "params": {"lr": 1e999}}}',
      code: 'CONFIG_INVALID',
      says: ['optimizer.params.lr', 'Infinity'],
    },
  ];
}

function impossibleTogether(): BadConfiguration[] {
  const row = (name: string, keys: object, ranks: number, ...says: string[]): BadConfiguration => ({
    name: `impossible together: ${name}`,
    keys: { ...keys },
    ranks,
    code: 'CONFIG_CONFLICT',
    says,
  });
  const oneCycle = (params: object) => ({
    scheduler: { type: 'OneCycle', params: { cycle_min_lr: 0.1, cycle_max_lr: 1, ...params } },
  });
  const three = { train_batch_size: 16, train_micro_batch_size_per_gpu: 4, gradient_accumulation_steps: 3 };
  const cycle = { cycle_min_lr: 0, cycle_max_lr: 1, cycle_momentum: true };
  return [
    ...badMeshes(row),
    row('a window of fp16 that is off', { fp16: { loss_scale_window: 5 } }, 1, 'fp16.enabled'),
    ...badPolicies(row),
    row('a check of bf16 that is off', { bf16: { check_grad_overflow: true } }, 1, 'bf16.enabled'),
    row(
      'a cycle of momentum without momentum',
      { scheduler: { type: 'OneCycle', params: cycle }, optimizer: { type: 'SGD' } },
      1,
      'scheduler.params.cycle_momentum',
      'momentum is 0',
    ),
    row(
      'three sizes that disagree',
      three,
      2,
      'train_batch_size 16',
      'micro 4 × accumulation 3 × 2',
      '= 24',
      '2 ranks',
    ),
    row(
      'a micro-batch that does not divide',
      { train_batch_size: 10, train_micro_batch_size_per_gpu: 4 },
      2,
      'multiple of 8: 8, 16, 24',
      'one of 1, 5',
    ),
    ...['initial_scale_power', 'loss_scale_window', 'hysteresis', 'min_loss_scale'].map((key) =>
      row(
        `a static scale and ${key}`,
        { fp16: { enabled: true, loss_scale: 64, [key]: 7 } },
        1,
        `fp16.${key} has no effect while loss_scale is above 0`,
      ),
    ),
    row(
      'a static scale and consecutive overflows',
      { fp16: { enabled: true, loss_scale: 64, consecutive_hysteresis: true } },
      1,
      'fp16.consecutive_hysteresis has no effect',
    ),
    row('two precisions', { fp16: { enabled: true }, bf16: { enabled: true } }, 1, 'both enabled'),
    row('two by the old name', { fp16: { enabled: true }, bfloat16: { enabled: true } }, 1, 'both enabled'),
    row(
      'a scale that begins below its minimum',
      { fp16: { enabled: true, initial_scale_power: 2, min_loss_scale: 8 } },
      1,
      'fp16.initial_scale_power',
      'a scale of 4',
    ),
    row(
      'gradients scaled twice',
      { fp16: { enabled: true }, communication: { compression: 'fp16-static' } },
      2,
      'loss scale',
      'communication.compression',
    ),
    row(
      'a topology of other ranks',
      { communication: { topology: [[0, 1], [2]] } },
      4,
      'communication.topology does not fit 4 ranks: rank 3 is on no host',
    ),
    row('fewer sequences than ranks', { train_batch_size: 3 }, 4, '4 ranks do not divide 3'),
    row(
      'an accumulation that does not divide',
      { train_batch_size: 8, gradient_accumulation_steps: 3 },
      1,
      'gradient_accumulation_steps to one of 1, 2, 4, 8',
    ),
    row('no batch size at all', { train_batch_size: undefined }, 1, 'The batch size is missing'),
    row(
      'accumulation alone',
      { train_batch_size: undefined, gradient_accumulation_steps: 2 },
      1,
      'The batch size is missing',
    ),
    row(
      'Nesterov without momentum',
      { optimizer: { type: 'SGD', params: { nesterov: true } } },
      1,
      'optimizer.params.nesterov',
      'momentum > 0',
    ),
    ...[
      'stage3_prefetch_bucket_size',
      'stage3_max_live_parameters',
      'stage3_param_persistence_threshold',
      'stage3_model_persistence_threshold',
      'stage3_max_reuse_distance',
    ].map((key) =>
      row(
        `${key} at stage 1`,
        { zero_optimization: { stage: 1, [key]: 1000 } },
        2,
        `zero_optimization.${key} has no effect at stage 1`,
        'Remove it',
      ),
    ),
    row(
      'a limit on what nothing fetches or keeps',
      {
        zero_optimization: {
          stage: 3,
          stage3_prefetch_bucket_size: 0,
          stage3_param_persistence_threshold: 0,
          stage3_max_live_parameters: 9,
        },
      },
      2,
      'stage3_max_live_parameters has no effect while no block is gathered ahead or kept',
    ),
    row(
      'a limit on persistent parameters that are none',
      {
        zero_optimization: {
          stage: 3,
          stage3_param_persistence_threshold: 0,
          stage3_model_persistence_threshold: 9,
        },
      },
      2,
      'stage3_model_persistence_threshold has no effect while stage3_param_persistence_threshold is 0',
    ),
    row(
      'prefetching without overlap',
      { zero_optimization: { stage: 3, overlap_comm: false, stage3_prefetch_bucket_size: 9 } },
      2,
      'stage3_prefetch_bucket_size has no effect while overlap_comm is false',
    ),
    row(
      'kept inputs on the host of a CPU',
      { recompute: { policy: 'always' }, activation_checkpointing: { cpu_checkpointing: true } },
      1,
      'activation_checkpointing.cpu_checkpointing has no effect on a CPU, where kept inputs lie in host memory',
    ),
    row(
      'kept inputs on the host where nothing is recomputed',
      { device: 'cuda', activation_checkpointing: { cpu_checkpointing: true } },
      1,
      'activation_checkpointing.cpu_checkpointing has no effect while nothing is recomputed',
    ),
    row(
      'dampening of no momentum',
      { optimizer: { type: 'SGD', params: { dampening: 0.1 } } },
      1,
      'optimizer.params.dampening has no effect while optimizer.params.momentum is 0',
    ),
    row(
      'a cycle of momentum that is switched off',
      oneCycle({ cycle_momentum: false, cycle_min_mom: 0.5 }),
      1,
      'scheduler.params.cycle_min_mom has no effect while cycle_momentum is false',
    ),
    row(
      'a cycle of momentum for an optimizer without',
      { ...oneCycle({ cycle_max_mom: 0.5 }), optimizer: { type: 'SGD' } },
      1,
      'cycle_max_mom has no effect while optimizer.params.momentum is 0',
    ),
    row(
      'a decay that takes no steps',
      oneCycle({ decay_lr_rate: 0.5 }),
      1,
      'scheduler.params.decay_lr_rate has no effect while decay_step_size is 0',
    ),
    row(
      'steps of no decay',
      oneCycle({ decay_step_size: 5 }),
      1,
      'decay_step_size has no effect while decay_lr_rate and decay_mom_rate are 0',
    ),
    row(
      'two ways for gradients to travel',
      { communication: { compression: 'fp16-dynamic' }, communication_data_type: 'bf16' },
      1,
      'communication.compression',
      'communication_data_type bf16',
    ),
    row(
      'recomputation asked for twice',
      { recompute: { policy: 'always' }, pipeline: { activation_checkpoint_interval: 2 } },
      1,
      'pipeline.activation_checkpoint_interval',
      'recompute.policy',
    ),
    {
      name: 'impossible together: a selection of nothing',
      keys: { recompute: { policy: 'selected' } },
      code: 'CONFIG_INVALID',
      says: ['selects no block', '"every"'],
    },
    {
      name: 'impossible together: a limit without its bytes',
      keys: { recompute: { policy: 'on-demand' } },
      code: 'CONFIG_INVALID',
      says: ['recompute.limit_bytes is missing'],
    },
    {
      name: 'impossible together: halves of what is not recomputed',
      keys: { recompute: { policy: 'none', granularity: 'half' } },
      code: 'CONFIG_INVALID',
      says: ['Unknown key "granularity" in recompute', 'it goes with policy "always" or "selected" or'],
    },
    {
      name: 'impossible together: an unknown policy',
      keys: { recompute: { policy: 'sometimes' } },
      code: 'CONFIG_INVALID',
      says: ['recompute.policy', '"on-demand"'],
    },
    {
      name: 'impossible together: a decay without an end',
      keys: { steps: undefined, scheduler: { type: 'WarmupDecayLR' } },
      code: 'CONFIG_INVALID',
      says: ['scheduler.params.total_num_steps is missing', 'steps'],
    },
  ];
}

function notSupported(): BadConfiguration[] {
  const row = (name: string, keys: object, ...says: string[]): BadConfiguration => ({
    name: `not supported: ${name}`,
    keys: { ...keys },
    code: 'CONFIG_UNSUPPORTED',
    says,
  });
  return [
    row('fp16 without masters', { fp16: { fp16_master_weights_and_grads: true } }, 'keeps weights', 'fp16.'),
    row('bf16 without masters', { bfloat16: { bf16_optimizer_states: true } }, 'states in fp32', 'bfloat16.'),
    row('autocast', { torch_autocast: { enabled: true } }, 'torch_autocast is not supported yet'),
    row('bf16 sums', { data_types: { grad_accum_dtype: 'bf16' } }, 'data_types.grad_accum_dtype', 'add up'),
    row('another optimizer', { optimizer: { type: 'Lamb' } }, 'optimizer.type', 'not supported yet'),
    row('1-bit LAMB in any case', { optimizer: { type: 'onebitlamb' } }, 'not supported yet'),
    row("torch's schedule", { scheduler: { type: 'StepLR' } }, 'scheduler.type', 'not supported yet'),
    row('a key of ZeRO-3', { zero_optimization: { leaf_module: { names: ['moe'] } } }, 'ZeRO-3'),
    row('what is always one', { zero_optimization: { use_multi_rank_bucket_allreduce: false } }, 'reduction'),
    row(
      'gradients that are always one',
      { zero_optimization: { contiguous_gradients: false } },
      'flat buffers',
    ),
    row(
      'a key of ZeRO-3 without its prefix',
      { zero_optimization: { max_reuse_distance: 1e9 } },
      'stage3_max_reuse',
    ),
    row('a dead key', { zero_optimization: { allgather_partitions: true } }, 'does nothing in DeepSpeed'),
    row('a removed key', { zero_optimization: { cpu_offload: true } }, 'was removed', 'offload_optimizer'),
    row('documented and refused', { zero_optimization: { grad_hooks: true } }, 'was removed'),
    row(
      'kept inputs on several ranks',
      { activation_checkpointing: { partition_activations: true } },
      'partition_activations',
      'mesh.sequence_parallel',
    ),
    row(
      'a speculative update',
      { zero_optimization: { offload_optimizer: { super_offload: true } } },
      'super_offload',
    ),
    row(
      'a monitor',
      { tensorboard: { enabled: true, output_path: 'x' } },
      'tensorboard is not supported yet',
    ),
    row('elasticity', { elasticity: { enabled: true } }, 'elasticity is not supported yet'),
    row('summed gradients', { gradient_allreduce_op: 'sum' }, 'gradient_allreduce_op', 'set it to "mean"'),
    row('timers', { wall_clock_breakdown: true }, 'wall_clock_breakdown', 'set it to false'),
    row(
      'a dead section',
      { sparse_attention: { mode: 'fixed' } },
      'sparse_attention does nothing in DeepSpeed',
    ),
    row(
      'clipping in the wrong place',
      { optimizer: { type: 'Adam', params: { max_grad_norm: 1 } } },
      'gradient_clipping',
    ),
  ];
}

function unreadable(): BadConfiguration[] {
  const row = (name: string, text: string | Buffer, ...says: string[]): BadConfiguration => ({
    name: `unreadable: ${name}`,
    text,
    code: 'CONFIG_UNREADABLE',
    says,
  });
  return [
    row('an empty file', '', 'not valid JSON'),
    row('only a comment', '// nothing', 'not valid JSON'),
    row('a broken value', '{\n  "steps": tru\n}', ':2:12', 'tru'),
    row('a missing comma', '{"steps": 1\n"seed": 2}', ':2:1', 'a comma'),
    row('a missing brace', '{"steps": 1', 'a closing }', 'the end of the file'),
    row('keys without quotes', '{steps: 1}', ':1:2', 'double quotes'),
    row('text after the end', '{"steps": 1} 2', 'nothing after'),
    row('an open comment', '{"steps": 1} /* and so on', 'not valid JSON'),
    row('a key given twice', '{\n "seed": 1,\n "seed": 2}', ':3:2', 'The key seed is given twice'),
    row('a key given twice, deep', '{"mesh": {"tensor": 1, "tensor": 1}}', 'mesh.tensor is given twice'),
    row('a dangerous key', '{"__proto__": {"seed": 1}}', '__proto__ is not allowed'),
    row('a dangerous key, deep', '{"model": {"__proto__": 1}}', 'model.__proto__ is not allowed'),
    row('nesting without end', '['.repeat(100_000), 'nested too deeply'),
    row('objects without end', '{"a":'.repeat(100_000), 'nested too deeply'),
    row('Latin-1', Buffer.from('{\n"output": "caf\u00e9"}', 'latin1'), 'not UTF-8', ':2'),
    row('UTF-16', Buffer.from('\ufeff{"steps": 1}', 'utf16le'), 'not UTF-8'),
    { name: 'a list', text: '[]', code: 'CONFIG_INVALID', says: ['not an object'] },
    { name: 'a number', text: '3', code: 'CONFIG_INVALID', says: ['not an object'] },
    {
      name: 'an empty object',
      text: '{}',
      code: 'CONFIG_INVALID',
      says: ['model is missing', 'data is missing'],
    },
  ];
}

function badFlags(): BadConfiguration[] {
  const row = (set: string, code: string, ...says: string[]): BadConfiguration => ({
    name: `--set ${set}`,
    keys: {},
    set: [set],
    code,
    says,
  });
  return [
    row('seed', 'USAGE', 'names no setting'),
    row('=3', 'USAGE', 'names no setting'),
    row('a..b=3', 'USAGE', 'names no setting'),
    row('__proto__.seed=3', 'USAGE', 'names no setting'),
    row('seed=three', 'CONFIG_INVALID', 'seed (--set seed=three)', 'got       "three"'),
    row('sed=3', 'CONFIG_INVALID', '"sed"', '--set sed=3', 'Did you mean "seed"'),
    row('data.path.1=b', 'USAGE', 'cannot be applied', 'an object at data.path'),
    row(
      'optimizer.params.lr=1',
      'CONFIG_INVALID',
      'optimizer.type is missing',
      '--set optimizer.params.lr=1',
    ),
    row('steps.first=3', 'USAGE', 'cannot be applied', 'an object at steps'),
    row('mesh={"tensor": 1', 'USAGE', 'not valid JSON'),
    row('zero_optimization.stage=9', 'CONFIG_INVALID', '--set zero_optimization.stage=9'),
  ];
}

function badAdapters(): BadConfiguration[] {
  const row = (name: string, adapter: object, code: string, ...says: string[]): BadConfiguration => ({
    name: `adapter: ${name}`,
    keys: {
      model: { architecture: 'llama', hidden_size: 32, num_attention_heads: 2 },
      adapter: { type: 'lora', ...adapter },
    },
    code,
    says,
  });
  const targets = 'all-linear';
  return [
    row('without targets', {}, 'CONFIG_INVALID', 'adapter.targets is missing', '"all-linear"'),
    row('of another kind', { type: 'dora', targets }, 'CONFIG_INVALID', 'adapter.type', '"lora"'),
    row('without a kind', { type: undefined, targets }, 'CONFIG_INVALID', 'adapter.type is missing'),
    row('an unknown key', { targets, rnk: 4 }, 'CONFIG_INVALID', 'adapter.rnk', '"rank"'),
    row('rank 0', { targets, rank: 0 }, 'CONFIG_INVALID', 'adapter.rank', '≥ 1'),
    row('alpha 0', { targets, alpha: 0 }, 'CONFIG_INVALID', 'adapter.alpha'),
    row('dropout 1', { targets, dropout: 1 }, 'CONFIG_INVALID', 'adapter.dropout', '< 1'),
    row('no targets at all', { targets: [] }, 'CONFIG_INVALID', 'adapter.targets'),
    row('a pattern', { targets: '.*_proj' }, 'CONFIG_INVALID', 'adapter.targets', '"all-linear"'),
    row(
      'a target that is no layer',
      { targets: ['q_prj'] },
      'CONFIG_INVALID',
      'adapter.targets',
      'q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj',
      '"q_prj"',
      'Did you mean q_proj',
    ),
    row('the head', { targets: ['q_proj', 'lm_head'] }, 'CONFIG_INVALID', '"lm_head"', 'q_proj'),
    row(
      'a layer that is not there',
      { targets: ['layers.99.self_attn.q_proj'] },
      'CONFIG_INVALID',
      'layers.99',
    ),
    row('a folder that is not there', { path: 'no/such/folder' }, 'MODEL_UNREADABLE', 'no/such/folder'),
    row(
      'a folder and a rank',
      { path: 'x', rank: 4 },
      'CONFIG_CONFLICT',
      'adapter.rank',
      'Remove adapter.rank',
    ),
    row('a folder and targets', { path: 'x', targets }, 'CONFIG_CONFLICT', 'adapter.targets'),
  ];
}
