import { completeCompression } from '../../comm/config.js';
import type { ConfigIssue } from './issue.js';
import { dataParallelSize } from './mesh-setting.js';
import type { ConfigRule, Surroundings } from './rule.js';
import type { CheckedConfig } from './schema.js';

/** What compression of messages does not go together with. */
export const compressionRules: readonly ConfigRule[] = [
  {
    keys: ['zero_optimization', 'communication', 'communication_data_type'],
    check: checkQuantizedGradients,
  },
  { keys: ['optimizer', 'zero_optimization'], check: checkMomentumStage },
  { keys: ['optimizer', 'communication'], check: checkTwoFeedbacks },
  { keys: ['optimizer', 'steps'], check: checkFreezeStep },
];

/** What is accepted and converges far worse than it might. */
export function compressionNotes(config: CheckedConfig, surroundings: Surroundings): readonly string[] {
  const { optimizer, communication, zero_optimization: zero } = config;
  const { type } = completeCompression(communication.compression ?? 'none');
  if (type !== 'one-bit' || dataParallelSize(config, surroundings) === 1) return [];
  if (optimizer.type !== 'Adam' && optimizer.type !== 'AdamW') return [];
  const stage = zero.stage < 2 ? '' : `, which takes zero_optimization.stage 0 or 1 (here ${zero.stage})`;
  return [
    `communication.compression "one-bit" beside ${optimizer.type}: signs of gradients spoil its second moment, and the loss ` +
      `falls far behind; optimizer.type "OneBitAdam" sends as few bytes and keeps up${stage} (docs/compression.md)`,
  ];
}

function checkMomentumStage({ optimizer, zero_optimization: zero }: CheckedConfig): ConfigIssue | undefined {
  if (optimizer.type !== 'OneBitAdam' || zero.stage < 2) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['zero_optimization', 'stage'],
    part: 'value',
    what: 'OneBitAdam adds all of its own gradients to a momentum, and from stage 2 on no rank keeps all of them.',
    expected: '0 or 1',
    got: `stage ${zero.stage}`,
    cure: 'Set zero_optimization.stage to 1, or the optimizer to AdamW.',
  };
}

/** A run that ends before it freezes is one of AdamW, and the name of the optimizer says otherwise. */
function checkFreezeStep({ optimizer, steps }: CheckedConfig): ConfigIssue | undefined {
  if (optimizer.type !== 'OneBitAdam' || steps === undefined) return undefined;
  const { freeze_step: freezeStep } = optimizer.params;
  if (freezeStep < steps) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['optimizer', 'params', 'freeze_step'],
    part: 'value',
    what: 'OneBitAdam compresses nothing in this run, which ends before it freezes.',
    expected: `an integer below ${steps}, the steps of the run`,
    got: String(freezeStep),
    cure: 'Set freeze_step to about a fifth of the steps, or the optimizer to AdamW.',
  };
}

function checkTwoFeedbacks({ optimizer, communication }: CheckedConfig): ConfigIssue | undefined {
  if (optimizer.type !== 'OneBitAdam' || communication.compression !== 'one-bit') return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['communication', 'compression'],
    part: 'value',
    what: 'OneBitAdam sums whole gradients until it freezes, to learn how large they are, and one bit after that.',
    got: 'one-bit',
    cure: 'Remove communication.compression, or set the optimizer to AdamW.',
  };
}

function checkQuantizedGradients(config: CheckedConfig): ConfigIssue | undefined {
  const { zero_optimization: zero, communication, communication_data_type: dtype } = config;
  if (!zero.zero_quantized_gradients || zero.stage !== 3) return undefined;
  const { type } = completeCompression(
    communication.compression ?? (dtype === undefined || dtype === 'fp32' ? 'none' : dtype),
  );
  if (type === 'none') return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['zero_optimization', 'zero_quantized_gradients'],
    part: 'value',
    what: 'zero_quantized_gradients says how gradients travel, and something else does too.',
    got: `gradients in ${type}`,
    cure: 'Remove communication.compression and communication_data_type, or zero_quantized_gradients.',
  };
}
