import { formatPath, isJsonObject, type JsonPath, type JsonValue } from '../../base/json-document.js';
import type { LoadedConfig } from '../config.js';
import type { ConfigOrigin, SettingSource } from './origin.js';

/** One setting of a resolved configuration and where it came from. */
export interface ExplainedSetting {
  /** `optimizer.params.lr` */
  readonly key: string;
  readonly value: JsonValue;
  readonly source: SettingSource | 'derived';
  /** `run.json:4:34`, `--set …`, `default`, or what it was derived from. */
  readonly place: string;
}

/** Values that follow from others when they are left out. */
const DERIVED: Readonly<Record<string, string>> = {
  train_batch_size: 'from the other batch sizes',
  train_micro_batch_size_per_gpu: 'from the other batch sizes',
  gradient_accumulation_steps: 'from the other batch sizes',
  data_parallel_size: 'from the number of ranks, mesh and sequence_parallel_size',
  'scheduler.params.total_num_steps': 'from steps',
  'scheduler.params.cycle_momentum': 'from the optimizer',
};

/** Every setting of a configuration, one by one, in the order of docs/config.md. */
export function explainConfig({ config, origin }: LoadedConfig): readonly ExplainedSetting[] {
  // A resolved configuration is made of JSON values only.
  return explainValue(config as unknown as JsonValue, [], origin);
}

function explainValue(
  value: JsonValue | undefined,
  path: JsonPath,
  origin: ConfigOrigin,
): readonly ExplainedSetting[] {
  if (value === undefined) return [];
  if (isJsonObject(value)) {
    return Object.entries(value).flatMap(([key, below]) => explainValue(below, [...path, key], origin));
  }
  const key = formatPath(path);
  const source = origin.sourceOf(path);
  if (source !== 'default') return [{ key, value, source, place: origin.describe(path, 'value') }];
  const derived = Object.hasOwn(DERIVED, key) ? DERIVED[key] : undefined;
  return [{ key, value, source: derived === undefined ? 'default' : 'derived', place: derived ?? 'default' }];
}
