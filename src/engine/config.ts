import type { BatchSizes } from './config/batch-sizes.js';
import type { CheckedConfig, UserConfig } from './config/schema.js';

export type { UserConfig } from './config/schema.js';

type DeepReadonly<T> = T extends (infer Item)[]
  ? readonly DeepReadonly<Item>[]
  : T extends object
    ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> }
    : T;

/**
 * A configuration with nothing left open, frozen: defaults filled in and the batch sizes worked out for one
 * number of data-parallel ranks. Keys keep the names that they have in the file, which are DeepSpeed's where
 * DeepSpeed has one. Each part takes its own slice; nobody takes the whole.
 */
export type ResolvedConfig = DeepReadonly<Omit<CheckedConfig, '$schema' | keyof BatchSizes>> & BatchSizes;

/** Gives the editor the type of a configuration written in TypeScript; returns it unchanged. */
export function defineConfig(config: UserConfig): UserConfig {
  return config;
}
