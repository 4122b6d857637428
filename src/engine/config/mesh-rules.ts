import { completeCompression } from '../../comm/config.js';
import type { ConfigIssue } from './issue.js';
import { meshSetting } from './mesh-setting.js';
import type { ConfigRule } from './rule.js';
import type { CheckedConfig } from './schema.js';

/** What the axes of the mesh do not go together with. */
export const meshRules: readonly ConfigRule[] = [
  { keys: ['mesh', 'tensor_parallel'], check: checkTensorTwice },
  { keys: ['mesh', 'tensor_parallel'], check: checkSequenceParallel },
  { keys: ['mesh', 'tensor_parallel'], check: checkPartitionRules },
  { keys: ['mesh', 'tensor_parallel', 'adapter'], check: checkAdapter },
  { keys: ['mesh', 'tensor_parallel', 'optimizer', 'communication'], check: checkErrorFeedback },
  { keys: ['mesh', 'tensor_parallel', 'zero_optimization'], check: checkHierarchy },
  ...(['schedule', 'chunks', 'partition'] as const).map(
    (key): ConfigRule => ({ keys: ['mesh', 'pipeline'], check: checkStagesKey(key) }),
  ),
  { keys: ['mesh', 'pipeline'], check: checkChunks },
  { keys: ['mesh', 'pipeline'], check: checkPartCounts },
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

/** Rules by names say how matrices are divided, and nothing of positions. */
function checkPartitionRules(config: CheckedConfig): ConfigIssue | undefined {
  const { layer_specs: rules, strict_mode: isStrict } = config.tensor_parallel.partition_config;
  const isDivided = meshSetting(config).tensor > 1;
  const conflict = (key: string, what: string, got: string, cure: string): ConfigIssue => ({
    code: 'CONFIG_CONFLICT',
    path: ['tensor_parallel', 'partition_config', key],
    part: 'key',
    what,
    got,
    cure,
  });
  if (rules.length > 0 && !isDivided) {
    const what = 'partition_config.layer_specs has no effect while no ranks share a layer.';
    return conflict('layer_specs', what, 'mesh.tensor 1', 'Remove it, or set mesh.tensor.');
  }
  if (isStrict && rules.length === 0) {
    const what = 'partition_config.strict_mode has no effect without layer_specs.';
    return conflict('strict_mode', what, 'no rules', 'Remove it, or write layer_specs.');
  }
  if (rules.length === 0 || !config.mesh.sequence_parallel) return undefined;
  const what = 'A model that is divided by names knows nothing of positions that ranks share.';
  return conflict('layer_specs', what, 'mesh.sequence_parallel true', 'Remove one of the two.');
}

/** Adapters put small matrices beside whole ones, which the ranks of a host have in common. */
function checkAdapter(config: CheckedConfig): ConfigIssue | undefined {
  const { tensor, pipeline } = meshSetting(config);
  if (tensor * pipeline === 1 || config.adapter === undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['adapter'],
    part: 'value',
    what: 'An adapter is trained on a whole model, and the mesh divides it.',
    got: `mesh.pipeline ${pipeline}, mesh.tensor ${tensor}`,
    cure: 'Use data-parallel ranks alone: frozen matrices are in memory once per host, and adapters are small.',
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

/** What the keys say where nothing is said: a configuration that was resolved says so. */
const USUAL = { schedule: '1f1b', chunks: 1, partition: 'parameters' } as const;

function checkStagesKey(key: 'schedule' | 'chunks' | 'partition'): ConfigRule['check'] {
  return (config, _surroundings, given) => {
    const value = given(['pipeline', key]);
    if (value === undefined || value === USUAL[key] || config.mesh.pipeline > 1) return undefined;
    return {
      code: 'CONFIG_CONFLICT',
      path: ['pipeline', key],
      part: 'key',
      what: `pipeline.${key} has no effect while there is one stage.`,
      got: 'mesh.pipeline 1',
      cure: 'Remove it, or set mesh.pipeline.',
    };
  };
}

function checkChunks({ pipeline: { schedule, chunks } }: CheckedConfig): ConfigIssue | undefined {
  if ((schedule === 'interleaved') === chunks > 1) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['pipeline', 'chunks'],
    part: 'value',
    what: 'The schedule "interleaved" has several chunks on every stage, and the others have one.',
    got: `schedule "${schedule}" and ${chunks} ${chunks === 1 ? 'chunk' : 'chunks'}`,
    cure: 'Set pipeline.schedule to "interleaved" and pipeline.chunks to 2 or more, or neither.',
  };
}

function checkPartCounts({ mesh, pipeline: { partition, chunks } }: CheckedConfig): ConfigIssue | undefined {
  if (typeof partition === 'string' || partition.length === mesh.pipeline * chunks) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['pipeline', 'partition'],
    part: 'value',
    what: 'pipeline.partition does not say how many blocks every part has.',
    expected: `${mesh.pipeline * chunks} numbers: stages × chunks`,
    got: `${partition.length} numbers`,
  };
}
