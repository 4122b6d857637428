import { formatPath } from '../../base/json-document.js';
import type { ConfigIssue } from './issue.js';
import { meshSetting } from './mesh-setting.js';
import type { ConfigRule } from './rule.js';
import type { CheckedConfig } from './schema.js';

const PATH = ['zero_optimization', 'offload_optimizer', 'overlap_step'] as const;

/** What an update that is made under the next step does not go together with. */
export const delayedUpdateRules: readonly ConfigRule[] = [
  { keys: ['zero_optimization', 'device'], check: checkStage },
  { keys: ['zero_optimization', 'device'], check: checkShare },
  { keys: ['zero_optimization', 'device', 'mesh', 'tensor_parallel'], check: checkMesh },
];

/** That a run does not train as others do. */
export function delayedUpdateNotes(config: CheckedConfig): readonly string[] {
  if (!isDelayed(config)) return [];
  return [
    `${formatPath(PATH)} changes the mathematics: each step computes with weights that lack the update of the step before, ` +
      'and losses differ from those of a run without it',
  ];
}

function isDelayed({ device, zero_optimization: { offload_optimizer: states } }: CheckedConfig): boolean {
  const isMoved = states.device === 'nvme' || (states.device === 'cpu' && device !== 'cpu');
  return states.overlap_step && isMoved;
}

/** Gradients that are never released lie in one buffer, which the next step clears. */
function checkStage(config: CheckedConfig): ConfigIssue | undefined {
  const { stage } = config.zero_optimization;
  if (!isDelayed(config) || stage !== 1) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: PATH,
    part: 'value',
    what:
      'A delayed update reads the gradients of its step while the next makes others; at stage 1 both would be in the one ' +
      'buffer that is always in memory.',
    expected: 'zero_optimization.stage 2 or 3 beside it',
    got: `stage ${stage}`,
    cure: 'Set zero_optimization.stage to 2, or remove overlap_step.',
  };
}

/** What is on the device would be updated at once, and the rest a step later. */
function checkShare(config: CheckedConfig): ConfigIssue | undefined {
  const { ratio } = config.zero_optimization.offload_optimizer;
  if (!isDelayed(config) || ratio === 1) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: PATH,
    part: 'value',
    what: 'A delayed update is one of all weights, and with this ratio some of them are updated on the device, at once.',
    expected: 'ratio 1 beside it',
    got: `ratio ${ratio}`,
    cure: 'Remove ratio or overlap_step.',
  };
}

/** Several stages and shared layers order their exchanges by what one step does. */
function checkMesh(config: CheckedConfig): ConfigIssue | undefined {
  const { pipeline, tensor } = meshSetting(config);
  if (!isDelayed(config) || (pipeline === 1 && tensor === 1)) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: PATH,
    part: 'value',
    what: 'A delayed update beside stages of a pipeline or tensor parallelism has never been compared with its mathematics.',
    expected: 'mesh.pipeline 1 and mesh.tensor 1 beside it',
    got: `pipeline ${pipeline}, tensor ${tensor}`,
    cure: 'Divide over data-parallel ranks alone, or remove overlap_step.',
  };
}
