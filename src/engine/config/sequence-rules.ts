import type { ConfigIssue } from './issue.js';
import { meshSetting } from './mesh-setting.js';
import type { ConfigRule } from './rule.js';
import type { CheckedConfig } from './schema.js';

/** What sequences whose positions are divided over ranks do not go together with. */
export const sequenceRules: readonly ConfigRule[] = [
  { keys: ['mesh', 'tensor_parallel', 'sequence_parallel_size', 'data'], check: checkSequenceLength },
  { keys: ['sequence_parallel_size', 'redundancy'], check: checkReplicas },
];

/** Ranks that share sequences divide the positions, and those of a layer may divide each part again. */
function checkSequenceLength(config: CheckedConfig): ConfigIssue | undefined {
  const length = config.data?.sequence_length;
  const { tensor, sequence_parallel: divides } = meshSetting(config);
  const parts = [
    ['sequence_parallel_size', config.sequence_parallel_size],
    ['mesh.sequence_parallel', divides ? tensor : 1],
  ] as const;
  const divisor = parts.reduce((product, [, ranks]) => product * ranks, 1);
  if (length === undefined || length % divisor === 0) return undefined;
  const keys = parts.filter(([, ranks]) => ranks > 1).map(([key]) => key);
  return {
    code: 'CONFIG_CONFLICT',
    path: ['data', 'sequence_length'],
    part: 'value',
    what: `The positions of a sequence cannot be divided over ranks, as ${keys.join(' and ')} ${keys.length > 1 ? 'ask' : 'asks'}.`,
    expected: `a multiple of ${divisor}`,
    got: String(length),
    cure: `Set data.sequence_length to a multiple of ${divisor}, or remove ${keys.join(' or ')}.`,
  };
}

/** Redundancy counts data-parallel ranks, of which those that share sequences are several at one place. */
function checkReplicas({ sequence_parallel_size: size, redundancy }: CheckedConfig): ConfigIssue | undefined {
  if (size === 1 || redundancy === undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['redundancy'],
    part: 'value',
    what: 'redundancy and ranks that share sequences each group the data-parallel ranks in their own way.',
    expected: 'sequence_parallel_size 1 beside redundancy',
    got: `sequence_parallel_size ${size}`,
    cure: 'Remove one of the two.',
  };
}
