import { completeCompression } from '../../comm/config.js';
import type { ConfigIssue } from './issue.js';
import type { ConfigRule } from './rules.js';
import type { CheckedConfig } from './schema.js';

/** What compression of messages does not go together with. */
export const compressionRules: readonly ConfigRule[] = [
  {
    keys: ['zero_optimization', 'communication', 'communication_data_type'],
    check: checkQuantizedGradients,
  },
];

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
