import { isDeepStrictEqual } from 'node:util';
import { completeCompression } from '../../comm/config.js';
import type { ConfigIssue } from './issue.js';
import { dataParallelSize } from './mesh-setting.js';
import { redundancySetting } from './redundancy-setting.js';
import type { ConfigRule, Surroundings } from './rule.js';
import type { CheckedConfig } from './schema.js';

/** What groups of ranks do not go together with that have training state, or a copy of parameters, among themselves. */
export const groupRules: readonly ConfigRule[] = [
  { keys: ['redundancy', 'zero_optimization'], check: checkTwice },
  { keys: ['redundancy', 'zero_optimization'], check: checkStage },
  { keys: ['redundancy', 'zero_optimization'], check: checkSecondaryStage },
  { keys: ['redundancy', 'zero_optimization', 'mesh', 'tensor_parallel'], check: checkSize },
  { keys: ['redundancy', 'zero_optimization', 'optimizer', 'communication'], check: checkOneBit },
  { keys: ['redundancy', 'zero_optimization', 'communication'], check: checkOrder },
  { keys: ['redundancy', 'zero_optimization'], check: checkQuantizedGradients },
];

/** What is accepted and does not act: a group that has all data-parallel ranks. */
export function groupNotes(config: CheckedConfig, surroundings: Surroundings): readonly string[] {
  const size = sizeOf(config);
  if (size === undefined || size !== dataParallelSize(config, surroundings)) return [];
  return [
    `redundancy: one group of ${size} has all data-parallel ranks, so that nothing is there more than once`,
  ];
}

/** Ranks of a group, of whichever kind; undefined where there are no groups. */
function sizeOf(config: CheckedConfig): number | undefined {
  const redundancy = redundancySetting(config);
  return redundancy === undefined || redundancy.type === 'local' ? undefined : redundancy.size;
}

/** Ranks of a group that has all of the training state; undefined where there is none. */
function groupSize(config: CheckedConfig): number | undefined {
  return redundancySetting(config)?.type === 'groups' ? sizeOf(config) : undefined;
}

/** DeepSpeed's two names may stand beside what they mean. */
function checkTwice(config: CheckedConfig): ConfigIssue | undefined {
  const { redundancy, zero_optimization: zero } = config;
  const { mics_shard_size: size, zero_hpz_partition_size: hostSize } = zero;
  const key = size > 1 ? 'mics_shard_size' : 'zero_hpz_partition_size';
  const isTwice = size > 1 && hostSize > 1;
  const isOther = redundancy !== undefined && !isDeepStrictEqual(redundancy, redundancySetting(config));
  if (!isTwice && !isOther) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['zero_optimization', key],
    part: 'value',
    what: `zero_optimization.${key} and ${isTwice ? 'zero_hpz_partition_size' : 'redundancy'} say two different things.`,
    got: `${key} ${zero[key]} and ${isTwice ? hostSize : JSON.stringify(redundancy)}`,
    cure: 'Remove one of them.',
  };
}

/** What is gathered once a step, or never, needs no second copy. */
function checkSecondaryStage(config: CheckedConfig): ConfigIssue | undefined {
  const { stage } = config.zero_optimization;
  if (redundancySetting(config)?.type !== 'secondary' || stage === 3) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['zero_optimization', 'stage'],
    part: 'value',
    what: 'Below ZeRO stage 3 every rank has all parameters, and a second copy would be one too many.',
    expected: 'stage 3 beside redundancy.type "secondary"',
    got: `stage ${stage}`,
    cure: 'Set zero_optimization.stage to 3, or remove redundancy.',
  };
}

function checkStage(config: CheckedConfig): ConfigIssue | undefined {
  if (groupSize(config) === undefined || config.zero_optimization.stage > 0) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['zero_optimization', 'stage'],
    part: 'value',
    what: 'At ZeRO stage 0 nothing is divided, so that there is nothing to divide inside groups.',
    expected: 'stage 1, 2 or 3 beside redundancy.type "groups"',
    got: 'stage 0',
    cure: 'Set zero_optimization.stage to what groups are to divide, or remove redundancy.',
  };
}

function checkSize(config: CheckedConfig, surroundings: Surroundings): ConfigIssue | undefined {
  const [size, ranks] = [sizeOf(config), dataParallelSize(config, surroundings)];
  if (size === undefined || ranks === undefined || ranks % size === 0) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['redundancy', 'size'],
    part: 'value',
    what: `The ${ranks} data-parallel ranks cannot be cut into groups of ${size}.`,
    expected: `a divisor of ${ranks} from 2 on`,
    got: String(size),
    cure: 'Set redundancy.size to such a divisor (the ranks of one host, as a rule), or train on other numbers of ranks.',
  };
}

/** Errors of messages are kept for sums over one set of ranks. */
function checkOneBit(config: CheckedConfig): ConfigIssue | undefined {
  const { optimizer, communication } = config;
  const isMomentum = optimizer.type === 'OneBitAdam';
  const isOneBit = completeCompression(communication.compression ?? 'none').type === 'one-bit';
  if (groupSize(config) === undefined || !(isMomentum || isOneBit)) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: isMomentum ? ['optimizer', 'type'] : ['communication', 'compression'],
    part: 'value',
    what: 'One-bit messages keep what they have lost for one sum, and groups sum twice: inside, and over each other.',
    got: 'redundancy.type "groups"',
    cure: 'Use another compression (int8, int4, fp16-dynamic, bf16) with AdamW, or remove redundancy.',
  };
}

function checkOrder(config: CheckedConfig): ConfigIssue | undefined {
  if (groupSize(config) === undefined || !config.communication.deterministic) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['communication', 'deterministic'],
    part: 'value',
    what: 'Sums in the order of all ranks, which are the same at every stage, are not those of groups: each sums its own first.',
    got: 'redundancy.type "groups"',
    cure: 'Remove one of the two.',
  };
}

function checkQuantizedGradients(config: CheckedConfig): ConfigIssue | undefined {
  if (groupSize(config) === undefined || !config.zero_optimization.zero_quantized_gradients) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['zero_optimization', 'zero_quantized_gradients'],
    part: 'value',
    what: 'zero_quantized_gradients goes by the hosts of one reduce-scatter over all ranks, and groups have two sums.',
    got: 'redundancy.type "groups"',
    cure: 'Use communication.compression "int8" or "int4" in its place.',
  };
}
