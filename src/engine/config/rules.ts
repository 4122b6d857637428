import { isJsonObject } from '../../base/json-document.js';
import { completeCompression } from '../../comm/config.js';
import { completeBatchSizes, isBatchConflict } from './batch-sizes.js';
import { checkpointRules } from './checkpoint-rules.js';
import { communicationRules } from './communication-rules.js';
import { compressionRules } from './compression-rules.js';
import { delayedUpdateRules } from './delayed-update-rules.js';
import { groupRules } from './group-rules.js';
import { idleKeyRules } from './idle-keys.js';
import type { ConfigIssue } from './issue.js';
import { meshRules } from './mesh-rules.js';
import { dataParallelSize, meshSetting } from './mesh-setting.js';
import { nonFiniteRules } from './non-finite-rules.js';
import { offloadRules } from './offload-rules.js';
import { redundancyRules } from './redundancy-rules.js';
import type { ConfigRule, Surroundings } from './rule.js';
import type { CheckedConfig } from './schema.js';
import { sequenceRules } from './sequence-rules.js';

const BATCH_KEYS = [
  'train_batch_size',
  'train_micro_batch_size_per_gpu',
  'gradient_accumulation_steps',
] as const;

/** The rules that no single key's schema can express. */
export const configRules: readonly ConfigRule[] = [
  { keys: ['mesh', 'tensor_parallel', 'sequence_parallel_size'], check: checkMesh },
  {
    keys: ['mesh', 'tensor_parallel', 'sequence_parallel_size', ...BATCH_KEYS],
    check: checkBatchSizes,
  },
  { keys: ['scheduler', 'steps'], check: checkTotalSteps },
  { keys: ['optimizer'], check: checkNesterov },
  { keys: ['bf16', 'bfloat16', 'fp16'], check: checkPrecision },
  ...(['fp16', 'bf16', 'bfloat16'] as const).map((key) => ({ keys: [key], check: checkEnabled(key) })),
  { keys: ['fp16'], check: checkLossScale },
  { keys: ['fp16', 'communication'], check: checkScaledTwice },
  { keys: ['recompute'], check: checkSelection },
  { keys: ['recompute', 'pipeline'], check: checkCheckpointInterval },
  { keys: ['communication', 'communication_data_type'], check: checkCompression },
  ...communicationRules,
  ...meshRules,
  ...sequenceRules,
  ...compressionRules,
  ...redundancyRules,
  ...groupRules,
  ...offloadRules,
  ...delayedUpdateRules,
  ...checkpointRules,
  ...nonFiniteRules,
  ...idleKeyRules,
  { keys: ['adapter'], check: checkAdapter },
];

/** The issues of keys that the command needs and the configuration lacks. */
export function missingKeys(config: CheckedConfig, { requires }: Surroundings): readonly ConfigIssue[] {
  return requires
    .filter((key) => config[key] === undefined)
    .map((key) => ({
      code: 'CONFIG_INVALID',
      path: [key],
      part: 'key',
      what: `${key} is missing.`,
      ...(EXAMPLES[key] === undefined ? {} : { cure: `Add ${EXAMPLES[key]}, for example.` }),
    }));
}

const EXAMPLES: Partial<Record<keyof CheckedConfig, string>> = {
  model: '"model": "path/to/huggingface/folder"',
  data: '"data": {"path": "corpus/**/*.txt", "tokenizer": "bytes"}',
  steps: '"steps": 200',
};

function checkMesh(config: CheckedConfig, surroundings: Surroundings): ConfigIssue | undefined {
  if (dataParallelSize(config, surroundings) !== undefined) return undefined;
  const { worldSize } = surroundings;
  const { pipeline, tensor } = meshSetting(config);
  const ranks = pipeline * tensor;
  const { sequence_parallel_size: sharing } = config;
  if (worldSize % ranks === 0) {
    return {
      code: 'CONFIG_CONFLICT',
      path: ['sequence_parallel_size'],
      part: 'value',
      what: `The data-parallel ranks cannot share sequences in groups of ${sharing}.`,
      expected: `a divisor of ${worldSize / ranks}`,
      got: `${sharing}`,
    };
  }
  return {
    code: 'CONFIG_CONFLICT',
    path: ['mesh'],
    part: 'value',
    what: `The mesh does not fit ${worldSize} ranks.`,
    expected: `a multiple of pipeline ${pipeline} × tensor ${tensor} = ${ranks} ranks`,
    got: `${worldSize} ranks`,
  };
}

function checkBatchSizes(config: CheckedConfig, surroundings: Surroundings): ConfigIssue | undefined {
  const dataParallel = dataParallelSize(config, surroundings);
  if (dataParallel === undefined) return undefined;
  const result = completeBatchSizes(config, dataParallel);
  if (!isBatchConflict(result)) return undefined;
  const { key, ...report } = result;
  return {
    code: 'CONFIG_CONFLICT',
    path: [key],
    part: 'value',
    ...report,
    got: batchSources(config, surroundings),
  };
}

/** Each number of the batch equation with the place that it came from. */
function batchSources(config: CheckedConfig, { worldSize, origin }: Surroundings): string {
  const given = BATCH_KEYS.flatMap((key) =>
    config[key] === undefined ? [] : `${key} ${config[key]} (${origin.describe([key], 'value')})`,
  );
  const { pipeline, tensor } = meshSetting(config);
  const sharing = config.sequence_parallel_size;
  const model = pipeline * tensor === 1 ? '' : ` / (pipeline ${pipeline} × tensor ${tensor})`;
  const sequences = sharing === 1 ? '' : ` / sequence_parallel_size ${sharing}`;
  return [...given, `${worldSize} ${worldSize === 1 ? 'rank' : 'ranks'}${model}${sequences}`].join(', ');
}

function checkTotalSteps(config: CheckedConfig): ConfigIssue | undefined {
  const { scheduler, steps } = config;
  if (scheduler?.type !== 'WarmupDecayLR' && scheduler?.type !== 'WarmupCosineLR') return undefined;
  if (scheduler.params.total_num_steps !== undefined || steps !== undefined) return undefined;
  return {
    code: 'CONFIG_INVALID',
    path: ['scheduler', 'params', 'total_num_steps'],
    part: 'key',
    what: 'scheduler.params.total_num_steps is missing, and so is steps, from which it would follow.',
    expected: 'an integer ≥ 1',
    cure: 'Add "steps" to the configuration.',
  };
}

function checkCompression(config: CheckedConfig, { origin }: Surroundings): ConfigIssue | undefined {
  const { communication_data_type: dtype, communication } = config;
  if (dtype === undefined || communication.compression === undefined) return undefined;
  const { type } = completeCompression(communication.compression);
  if (type === (dtype === 'fp32' ? 'none' : dtype)) return undefined;
  const path = ['communication', 'compression'];
  return {
    code: 'CONFIG_CONFLICT',
    path,
    part: 'value',
    what: 'communication.compression and communication_data_type say different things.',
    expected: `one of the two keys, or ${dtype === 'fp32' ? 'none' : dtype} for both`,
    got:
      `compression ${type} (${origin.describe(path, 'value')}), ` +
      `communication_data_type ${dtype} (${origin.describe(['communication_data_type'], 'value')})`,
  };
}

function checkNesterov(config: CheckedConfig): ConfigIssue | undefined {
  const { optimizer } = config;
  if (optimizer.type !== 'SGD' || !optimizer.params.nesterov) return undefined;
  const { momentum, dampening } = optimizer.params;
  if (momentum > 0 && dampening === 0) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['optimizer', 'params', 'nesterov'],
    part: 'value',
    what: 'Nesterov momentum needs a momentum and no dampening.',
    expected: 'momentum > 0 and dampening 0',
    got: `momentum ${momentum}, dampening ${dampening}`,
  };
}

function checkPrecision({ bf16, bfloat16, fp16 }: CheckedConfig): ConfigIssue | undefined {
  if (!fp16.enabled || !(bf16.enabled || bfloat16?.enabled)) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['fp16', 'enabled'],
    part: 'value',
    what: 'fp16 and bf16 are both enabled.',
    cure: 'Disable one of them; bf16 needs no loss scaling.',
  };
}

/** A section whose switch nobody has touched does nothing, whatever it says; one that is switched off is meant so. */
function checkEnabled(key: 'fp16' | 'bf16' | 'bfloat16'): ConfigRule['check'] {
  return (_config, _surroundings, given) => {
    const section = given([key]);
    if (!isJsonObject(section) || Object.hasOwn(section, 'enabled')) return undefined;
    const [first] = Object.keys(section);
    if (first === undefined) return undefined;
    return {
      code: 'CONFIG_CONFLICT',
      path: [key, first],
      part: 'key',
      what: `${key}.${first} has no effect while ${key}.enabled is left out, which means false.`,
      cure: `Add "enabled": true to ${key}, or remove ${key}.`,
    };
  };
}

function checkLossScale({ fp16 }: CheckedConfig): ConfigIssue | undefined {
  const initial = 2 ** fp16.initial_scale_power;
  if (!fp16.enabled || fp16.loss_scale > 0 || initial >= fp16.min_loss_scale) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['fp16', 'initial_scale_power'],
    part: 'value',
    what: 'The loss scale begins below its minimum.',
    expected: `2^initial_scale_power ≥ min_loss_scale, ${fp16.min_loss_scale}`,
    got: `initial_scale_power ${fp16.initial_scale_power}, a scale of ${initial}`,
  };
}

function checkScaledTwice({ fp16, communication }: CheckedConfig): ConfigIssue | undefined {
  if (!fp16.enabled || communication.compression === undefined) return undefined;
  if (completeCompression(communication.compression).type !== 'fp16-static') return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['communication', 'compression'],
    part: 'value',
    what: 'Gradients that are computed in fp16 are scaled already: by the loss scale.',
    expected: 'fp16, fp16-dynamic, bf16, int8, int4, one-bit or none',
    got: 'fp16-static',
    cure: 'Remove communication.compression, and choose the scale by fp16.loss_scale.',
  };
}

function checkSelection({ recompute }: CheckedConfig): ConfigIssue | undefined {
  if (recompute.policy !== 'selected') return undefined;
  if (recompute.every !== undefined || recompute.blocks !== undefined) return undefined;
  return {
    code: 'CONFIG_INVALID',
    path: ['recompute'],
    part: 'value',
    what: 'The policy "selected" selects no block.',
    expected: '"every" or "blocks" beside "policy"',
    cure: 'Add "every": 2 or "blocks": ["model.layers.*"], for example.',
  };
}

function checkCheckpointInterval({ recompute, pipeline }: CheckedConfig): ConfigIssue | undefined {
  const every = pipeline.activation_checkpoint_interval;
  if (every === 0 || recompute.policy === 'none') return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['pipeline', 'activation_checkpoint_interval'],
    part: 'value',
    what: 'pipeline.activation_checkpoint_interval and recompute both say which blocks to recompute.',
    got: `activation_checkpoint_interval ${every} and recompute.policy "${recompute.policy}"`,
    cure: 'Remove one of them.',
  };
}

/** Either the configuration says what the adapter is, or the folder that it comes from. */
function checkAdapter({ adapter }: CheckedConfig): ConfigIssue | undefined {
  if (adapter === undefined) return undefined;
  if (adapter.path === undefined) {
    if (adapter.targets !== undefined) return undefined;
    return {
      code: 'CONFIG_INVALID',
      path: ['adapter', 'targets'],
      part: 'key',
      what: 'adapter.targets is missing.',
      cure: 'Add "targets": "all-linear" or "targets": ["q_proj", "v_proj"], for example.',
    };
  }
  const said = (['targets', 'rank', 'alpha', 'dropout'] as const).find((key) => adapter[key] !== undefined);
  if (said === undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['adapter', said],
    part: 'value',
    what: `adapter.path names an adapter that exists, whose ${said} cannot be chosen.`,
    cure: `Remove adapter.${said}.`,
  };
}
