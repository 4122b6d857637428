import { show } from '../../base/explain-issues.js';
import { formatPath, type JsonValue } from '../../base/json-document.js';
import type { ConfigIssue } from './issue.js';
import { meshSetting } from './mesh-setting.js';
import type { ConfigRule, GivenValue, Surroundings } from './rule.js';
import type { CheckedConfig } from './schema.js';

/** A key about what travels in a step; where ranks train replicas, nothing does. */
interface StepTraffic {
  readonly path: readonly [keyof CheckedConfig, ...string[]];
  /** A value that asks for nothing. */
  readonly inert?: JsonValue;
}

const STEP_TRAFFIC: readonly StepTraffic[] = [
  { path: ['communication', 'compression'], inert: 'none' },
  { path: ['communication', 'deterministic'], inert: false },
  { path: ['communication', 'merge_below_ms'], inert: 0 },
  { path: ['communication_data_type'] },
  { path: ['zero_optimization', 'reduce_bucket_size'] },
  { path: ['zero_optimization', 'overlap_comm'] },
];

/** What local replicas do not go together with. */
export const redundancyRules: readonly ConfigRule[] = [
  { keys: ['redundancy', 'zero_optimization'], check: checkStage },
  { keys: ['redundancy', 'mesh', 'tensor_parallel'], check: checkMesh },
  { keys: ['redundancy', 'optimizer'], check: checkOptimizer },
  { keys: ['redundancy'], check: checkIdleOuter },
  ...STEP_TRAFFIC.map(checkTraffic),
];

/** What is accepted and may surprise: a run that ends while its replicas are apart. */
export function redundancyNotes({ redundancy, steps, output }: CheckedConfig): readonly string[] {
  if (redundancy?.type !== 'local' || steps === undefined || output === undefined) return [];
  const { sync_every: every } = redundancy;
  if (every !== 'never' && steps % every === 0) return [];
  const reason =
    every === 'never'
      ? 'replicas are never brought together'
      : `steps ${steps} is no multiple of sync_every ${every}`;
  return [`redundancy: ${reason}, so that the model in output will be the replica of rank 0`];
}

function checkStage({ redundancy, zero_optimization: zero }: CheckedConfig): ConfigIssue | undefined {
  if (redundancy?.type !== 'local' || zero.stage === 0) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['zero_optimization', 'stage'],
    part: 'value',
    what: 'Where each rank trains a replica of its own, it needs all of the training state in every step.',
    expected: 'stage 0 beside redundancy.type "local"',
    got: `stage ${zero.stage}`,
    cure: 'Set zero_optimization.stage to 0, or remove redundancy.',
  };
}

function checkMesh(config: CheckedConfig): ConfigIssue | undefined {
  const { pipeline, tensor } = meshSetting(config);
  if (config.redundancy?.type !== 'local' || tensor * pipeline === 1) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['mesh'],
    part: 'value',
    what: 'Each replica is one rank: replicas that are divided over a mesh are not here yet.',
    expected: 'pipeline 1 and tensor 1 beside redundancy.type "local"',
    got: `pipeline ${pipeline}, tensor ${tensor}`,
    cure: 'Remove mesh or redundancy.',
  };
}

function checkOptimizer({ redundancy, optimizer }: CheckedConfig): ConfigIssue | undefined {
  if (redundancy?.type !== 'local' || optimizer.type !== 'OneBitAdam') return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['optimizer', 'type'],
    part: 'value',
    what: 'OneBitAdam compresses what ranks sum in every step; replicas of their own sum nothing.',
    expected: 'Adam, AdamW, SGD, Lion or Adagrad beside redundancy.type "local"',
    got: optimizer.type,
    cure: 'Set the optimizer to AdamW, which it is until it freezes.',
  };
}

function checkIdleOuter(
  { redundancy }: CheckedConfig,
  _surroundings: Surroundings,
  given: GivenValue,
): ConfigIssue | undefined {
  const path = ['redundancy', 'outer'];
  if (redundancy?.type !== 'local' || redundancy.sync_every !== 'never' || given(path) === undefined)
    return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path,
    part: 'key',
    what: 'redundancy.outer has no effect while redundancy.sync_every is "never".',
    got: show(given(path)),
    cure: 'Remove it, or say every how many steps replicas are brought together.',
  };
}

function checkTraffic({ path, inert }: StepTraffic): ConfigRule {
  const [section] = path;
  return {
    keys: ['redundancy', section],
    check({ redundancy }, _surroundings, given) {
      const value = given(path);
      if (redundancy?.type !== 'local' || value === undefined || value === inert) return undefined;
      return {
        code: 'CONFIG_CONFLICT',
        path,
        part: 'key',
        what: `${formatPath(path)} has no effect beside redundancy.type "local": no gradients travel.`,
        got: show(value),
        cure: 'Remove one of the two.',
      };
    },
  };
}
