import { show } from '../../base/explain-issues.js';
import { formatPath, type JsonPath, type JsonValue } from '../../base/json-document.js';
import { precisionOf } from '../../precision/config.js';
import { idleKeyRule } from './idle-keys.js';
import type { ConfigIssue } from './issue.js';
import type { ConfigRule } from './rule.js';
import type { CheckedConfig } from './schema.js';

type Section = 'offload_optimizer' | 'offload_param';
const SECTIONS: readonly Section[] = ['offload_optimizer', 'offload_param'];

/** What offloading needs beside it, and what it does not go together with. */
export const offloadRules: readonly ConfigRule[] = [
  ...SECTIONS.map((section) => ({ keys: ['zero_optimization'] as const, check: checkStage(section) })),
  ...SECTIONS.map((section) => ({ keys: ['zero_optimization'] as const, check: checkPath(section) })),
  ...SECTIONS.map((section) => ({ keys: ['zero_optimization'] as const, check: checkSwitch(section) })),
  { keys: ['zero_optimization'], check: checkOnePath },
  { keys: ['zero_optimization', 'bf16', 'bfloat16', 'fp16'], check: checkMasters },
  { keys: ['zero_optimization', 'optimizer'], check: checkOptimizer },
  { keys: ['zero_optimization', 'redundancy'], check: checkRedundancy },
  { keys: ['zero_optimization', 'checkpoint'], check: checkCopies },
  ...idleKeys().map((key) => idleKeyRule(key, ['zero_optimization', 'device'])),
];

/** What is accepted and does nothing: on a CPU run, host memory is where everything is. */
export function offloadNotes(config: CheckedConfig): readonly string[] {
  if (config.device !== 'cpu') return [];
  return SECTIONS.filter((section) => config.zero_optimization[section].device === 'cpu').map(
    (section) =>
      `zero_optimization.${section}: device "cpu" changes nothing and costs nothing in a run on the CPU, whose memory ` +
      'it is already; "nvme" moves it to a disk',
  );
}

function deviceOf({ zero_optimization: zero }: CheckedConfig, section: Section): 'none' | 'cpu' | 'nvme' {
  return zero[section].device;
}

/** Whether anything is moved. */
function isMoved(config: CheckedConfig, section: Section): boolean {
  const device = deviceOf(config, section);
  return device === 'nvme' || (device === 'cpu' && config.device !== 'cpu');
}

function firstMoved(config: CheckedConfig): Section | undefined {
  return SECTIONS.find((section) => isMoved(config, section));
}

function pathOf(section: Section, key: string): JsonPath {
  return ['zero_optimization', section, key];
}

function checkStage(section: Section): ConfigRule['check'] {
  return (config) => {
    const { stage } = config.zero_optimization;
    const least = section === 'offload_param' ? 3 : 1;
    if (deviceOf(config, section) === 'none' || stage >= least) return undefined;
    return {
      code: 'CONFIG_CONFLICT',
      path: pathOf(section, 'device'),
      part: 'value',
      what:
        section === 'offload_param'
          ? 'Parameters that every block has in memory all the time (below stage 3) have no other place.'
          : 'At stage 0 a rank has no slices of its own that could lie elsewhere.',
      expected: `zero_optimization.stage ${section === 'offload_param' ? '3' : '1, 2 or 3'} beside it`,
      got: `stage ${stage}`,
      cure: `Set zero_optimization.stage to ${least}; one rank alone may do so too.`,
    };
  };
}

function checkPath(section: Section): ConfigRule['check'] {
  return (config) => {
    const { device, nvme_path: path } = config.zero_optimization[section];
    const isMissing = device === 'nvme' && path === undefined;
    // What is switched off is meant so, whatever else it says.
    if (!isMissing && !(device === 'cpu' && path !== undefined)) return undefined;
    return {
      code: isMissing ? 'CONFIG_INVALID' : 'CONFIG_CONFLICT',
      path: pathOf(section, 'nvme_path'),
      part: 'key',
      what: isMissing
        ? `zero_optimization.${section}.nvme_path is missing.`
        : `zero_optimization.${section}.nvme_path has no effect while device is "${device}".`,
      ...(isMissing && { expected: 'a folder on a fast local disk' }),
      cure: isMissing
        ? 'Add "nvme_path": "/local_nvme", for example.'
        : 'Remove it, or set device to "nvme".',
    };
  };
}

function checkOnePath({ zero_optimization: zero }: CheckedConfig): ConfigIssue | undefined {
  const { offload_optimizer: states, offload_param: weights } = zero;
  const areBoth = states.device === 'nvme' && weights.device === 'nvme';
  if (!areBoth || weights.nvme_path === undefined || states.nvme_path === weights.nvme_path) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: pathOf('offload_param', 'nvme_path'),
    part: 'value',
    what: 'The optimizer and the parameters are in two folders; a rank has its files in one.',
    expected: show(states.nvme_path ?? null),
    got: show(weights.nvme_path),
    cure: 'Name the same folder twice.',
  };
}

/** A section whose switch nobody has touched does nothing, whatever it says. */
function checkSwitch(section: Section): ConfigRule['check'] {
  return (_config, _surroundings, given) => {
    const written = given(['zero_optimization', section]);
    if (typeof written !== 'object' || written === null || Array.isArray(written)) return undefined;
    const [first] = Object.keys(written);
    if (first === undefined || Object.hasOwn(written, 'device')) return undefined;
    return {
      code: 'CONFIG_CONFLICT',
      path: pathOf(section, first),
      part: 'key',
      what: `${formatPath(pathOf(section, first))} has no effect while device is left out, which means "none".`,
      cure: `Add "device": "nvme" to ${section}, or remove ${section}.`,
    };
  };
}

/** In 16 bits there is nothing but the masters to move. */
function checkMasters(config: CheckedConfig): ConfigIssue | undefined {
  if (precisionOf(config).dtype === 'float32' || !isMoved(config, 'offload_param')) return undefined;
  if (isMoved(config, 'offload_optimizer')) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: pathOf('offload_param', 'device'),
    part: 'value',
    what: 'In 16 bits no parameters lie between steps that are not made from the fp32 weights of the optimizer.',
    expected: 'offload_optimizer with a device beside it',
    got: `offload_optimizer.device ${deviceOf(config, 'offload_optimizer')}`,
    cure: 'Offload the optimizer too, or compute in fp32.',
  };
}

function checkOptimizer(config: CheckedConfig): ConfigIssue | undefined {
  const section = firstMoved(config);
  if (section === undefined || config.optimizer.type !== 'OneBitAdam') return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: pathOf(section, 'device'),
    part: 'value',
    what: 'OneBitAdam has every rank add to the whole momentum in every step, which must be in memory for that.',
    got: `device ${deviceOf(config, section)} beside OneBitAdam`,
    cure: `Set zero_optimization.${section}.device to "none", or the optimizer to AdamW.`,
  };
}

function checkRedundancy(config: CheckedConfig): ConfigIssue | undefined {
  const section = firstMoved(config);
  const { redundancy, zero_optimization: zero } = config;
  const type =
    redundancy?.type ??
    (zero.mics_shard_size > 1 ? 'groups' : zero.zero_hpz_partition_size > 1 ? 'secondary' : undefined);
  if (section === undefined || type === undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: pathOf(section, 'device'),
    part: 'value',
    what: `Slices of which several ranks have copies (redundancy of type "${type}") are not offloaded yet.`,
    got: `device ${deviceOf(config, section)}`,
    cure: `Remove redundancy, or set zero_optimization.${section}.device to "none".`,
  };
}

/** Copies would bring into memory what lies in files for want of it. */
function checkCopies(config: CheckedConfig): ConfigIssue | undefined {
  const areFiles = SECTIONS.some((section) => deviceOf(config, section) === 'nvme');
  const { replicate, writer } = config.checkpoint;
  if (!areFiles || !(replicate || writer.decoupled)) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: replicate ? ['checkpoint', 'replicate'] : ['checkpoint', 'writer', 'decoupled'],
    part: 'value',
    what: 'The training state would be copied into memory first, and it is in files.',
    expected: 'false beside device "nvme"',
    got: 'true',
    cure: 'Remove it: checkpoints are then read from the files as they are written.',
  };
}

interface ConditionalKey {
  readonly path: JsonPath;
  /** Values that ask for nothing, and may stand anywhere: those of a configuration with its defaults filled in. */
  readonly inert: readonly JsonValue[];
  readonly idle: (config: CheckedConfig) => string | undefined;
}

function idleKeys(): readonly ConditionalKey[] {
  const unmoved =
    (section: Section) =>
    (config: CheckedConfig): string | undefined =>
      deviceOf(config, section) === 'none' || isMoved(config, section)
        ? undefined
        : 'while everything stays on the device';
  const notInFiles = (config: CheckedConfig): string | undefined =>
    deviceOf(config, 'offload_param') === 'cpu' ? 'while nothing lies in files' : undefined;
  const onTheCpu = ({ device }: CheckedConfig): string | undefined =>
    device === 'cpu' ? 'in a run on the CPU, which copies nothing to a GPU' : undefined;
  const states = (key: string, inert: JsonValue): ConditionalKey => ({
    path: pathOf('offload_optimizer', key),
    inert: [inert],
    idle: unmoved('offload_optimizer'),
  });
  const weights = (key: string, inert: JsonValue, idle = unmoved('offload_param')): ConditionalKey => ({
    path: pathOf('offload_param', key),
    inert: [inert],
    idle,
  });
  const withoutFiles = (config: CheckedConfig): string | undefined =>
    SECTIONS.some((section) => deviceOf(config, section) === 'nvme')
      ? undefined
      : 'while nothing lies in files';
  const aio = (key: string, inert: JsonValue): ConditionalKey => ({
    path: ['aio', key],
    inert: [inert],
    idle: withoutFiles,
  });
  return [
    aio('block_size', 1_048_576),
    aio('queue_depth', 32),
    aio('intra_op_parallelism', 1),
    aio('single_submit', false),
    aio('overlap_events', true),
    states('buffer_count', 8),
    states('pipeline_read', true),
    states('pipeline_write', true),
    states('ratio', 1),
    states('overlap_step', false),
    weights('buffer_count', 1),
    weights('buffer_size', 1e8),
    weights('max_in_cpu', 0, notInFiles),
    ...SECTIONS.map((section) => ({ path: pathOf(section, 'pin_memory'), inert: [true], idle: onTheCpu })),
    {
      path: ['zero_optimization', 'sub_group_size'],
      // DeepSpeed's default too, which its configurations commonly say.
      inert: [4_194_304, 1e9],
      idle: (config) => (firstMoved(config) ? undefined : 'while everything stays on the device'),
    },
  ];
}
