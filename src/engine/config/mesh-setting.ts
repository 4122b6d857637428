import type { Surroundings } from './rule.js';
import type { CheckedConfig } from './schema.js';

/** The mesh that a configuration asks for, whichever of the two keys says how many ranks share a layer. */
export function meshSetting({
  mesh,
  tensor_parallel: { autotp_size: size },
}: Pick<CheckedConfig, 'mesh' | 'tensor_parallel'>): CheckedConfig['mesh'] {
  return size < 2 ? mesh : { ...mesh, tensor: size };
}

/** World size / (pipeline × tensor), or undefined where that is no whole number. */
export function dataParallelSize(config: CheckedConfig, { worldSize }: Surroundings): number | undefined {
  const { pipeline, tensor } = meshSetting(config);
  const size = worldSize / (pipeline * tensor * config.sequence_parallel_size);
  return Number.isInteger(size) ? size : undefined;
}
