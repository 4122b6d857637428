import { completeCompression } from '../../comm/config.js';
import type { ConfigIssue } from './issue.js';
import { meshSetting } from './mesh-setting.js';
import type { ConfigRule } from './rules.js';
import type { CheckedConfig } from './schema.js';

/** What the axes of the mesh do not go together with. */
export const meshRules: readonly ConfigRule[] = [
  { keys: ['mesh', 'tensor_parallel'], check: checkTensorTwice },
  { keys: ['mesh', 'tensor_parallel'], check: checkSequenceParallel },
  { keys: ['mesh', 'tensor_parallel', 'data'], check: checkSequenceLength },
  { keys: ['mesh', 'tensor_parallel', 'adapter'], check: checkAdapter },
  { keys: ['mesh', 'tensor_parallel', 'optimizer', 'communication'], check: checkErrorFeedback },
  { keys: ['mesh', 'tensor_parallel', 'zero_optimization'], check: checkHierarchy },
];

function checkTensorTwice({
  mesh,
  tensor_parallel: { autotp_size: size },
}: CheckedConfig): ConfigIssue | undefined {
  if (size < 2 || mesh.tensor === 1 || mesh.tensor === size) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['tensor_parallel', 'autotp_size'],
    part: 'value',
    what: 'tensor_parallel.autotp_size and mesh.tensor say two different things.',
    got: `autotp_size ${size} and mesh.tensor ${mesh.tensor}`,
    cure: 'Remove one of them.',
  };
}

function checkSequenceParallel(config: CheckedConfig): ConfigIssue | undefined {
  if (!config.mesh.sequence_parallel || meshSetting(config).tensor > 1) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['mesh', 'sequence_parallel'],
    part: 'key',
    what: 'mesh.sequence_parallel has no effect while no ranks share a layer.',
    got: 'mesh.tensor 1',
    cure: 'Remove it, or set mesh.tensor.',
  };
}

function checkSequenceLength(config: CheckedConfig): ConfigIssue | undefined {
  const { data } = config;
  const { tensor, sequence_parallel: divides } = meshSetting(config);
  if (!divides || data?.sequence_length === undefined || data.sequence_length % tensor === 0)
    return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['data', 'sequence_length'],
    part: 'value',
    what: 'The positions of a sequence cannot be divided over the ranks of a layer, as mesh.sequence_parallel asks.',
    expected: `a multiple of ${tensor}`,
    got: String(data.sequence_length),
    cure: `Set data.sequence_length to a multiple of ${tensor}, or mesh.sequence_parallel to false.`,
  };
}

/** Adapters put small matrices of their own beside those that are divided. */
function checkAdapter(config: CheckedConfig): ConfigIssue | undefined {
  const { tensor } = meshSetting(config);
  if (tensor === 1 || config.adapter === undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['adapter'],
    part: 'value',
    what: 'An adapter is trained on whole matrices, and mesh.tensor divides them.',
    got: `mesh.tensor ${tensor}`,
    cure: 'Set mesh.tensor to 1: frozen matrices are in memory once per host, and adapters are small.',
  };
}

/** What messages have lost is saved by the names of whole parameters. */
function checkErrorFeedback(config: CheckedConfig): ConfigIssue | undefined {
  const { optimizer, communication } = config;
  const { tensor, pipeline } = meshSetting(config);
  if (tensor * pipeline === 1) return undefined;
  const isMomentum = optimizer.type === 'OneBitAdam';
  if (!isMomentum && completeCompression(communication.compression ?? 'none').type !== 'one-bit')
    return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: isMomentum ? ['optimizer', 'type'] : ['communication', 'compression'],
    part: 'value',
    what: 'One-bit messages need every rank to have the whole model, and the mesh divides it.',
    got: `mesh.pipeline ${pipeline}, mesh.tensor ${tensor}`,
    cure: 'Use another compression (int8, int4, fp16-dynamic, bf16) with AdamW, or a mesh of data-parallel ranks alone.',
  };
}

function checkHierarchy(config: CheckedConfig): ConfigIssue | undefined {
  const { tensor, pipeline } = meshSetting(config);
  const { zero_quantized_gradients: isQuantized } = config.zero_optimization;
  if (tensor * pipeline === 1 || !isQuantized) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['zero_optimization', 'zero_quantized_gradients'],
    part: 'value',
    what: 'zero_quantized_gradients goes by the hosts of data-parallel ranks, which a mesh spreads over them.',
    got: `mesh.pipeline ${pipeline}, mesh.tensor ${tensor}`,
    cure: 'Use communication.compression "int8" or "int4" in its place.',
  };
}
