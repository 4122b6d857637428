import { show } from '../../base/explain-issues.js';
import type { ConfigIssue } from './issue.js';
import type { ConfigRule } from './rule.js';
import type { CheckedConfig } from './schema.js';

/** When checkpoints can be saved between steps. */
export const checkpointRules: readonly ConfigRule[] = [
  { keys: ['checkpoint', 'output'], check: checkOutput },
  { keys: ['checkpoint', 'redundancy'], check: checkMeeting },
];

function checkOutput({ checkpoint: { interval }, output }: CheckedConfig): ConfigIssue | undefined {
  if (interval === undefined || output !== undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['checkpoint', 'interval'],
    part: 'key',
    what: 'checkpoint.interval has no effect without output: there is no folder for checkpoints.',
    got: show(interval),
    cure: 'Name a folder as output, or remove it.',
  };
}

function checkMeeting({
  checkpoint: { interval, replicate },
  redundancy,
}: CheckedConfig): ConfigIssue | undefined {
  if (redundancy?.type !== 'local' || redundancy.sync_every !== 'never') return undefined;
  if (interval === undefined && !replicate) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['checkpoint', replicate ? 'replicate' : 'interval'],
    part: 'key',
    what: 'Replicas that never meet are at different steps: a checkpoint between steps would make them wait.',
    got: show(replicate ? true : interval),
    cure: 'Remove it, or set redundancy.sync_every to a number of steps.',
  };
}
