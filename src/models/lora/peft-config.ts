import { TrainyardError } from '../../base/errors.js';
import type { AdapterOptions } from '../../nn/adapted-block.js';

/** PEFT's `adapter_config.json`, as it is written. */
export type PeftConfig = Readonly<Record<string, unknown>>;

/** Fields that say nothing about what the adapter computes once its matrices are there. */
const WITHOUT_EFFECT: ReadonlySet<string> = new Set([
  'peft_type',
  'r',
  'lora_alpha',
  'lora_dropout',
  'bias',
  // The matrices' own names say which layers they belong to, and the model how those store their weights.
  'target_modules',
  'exclude_modules',
  'layers_to_transform',
  'layers_pattern',
  'fan_in_fan_out',
  'task_type',
  'base_model_name_or_path',
  'auto_mapping',
  'inference_mode',
  'revision',
  'peft_version',
  'megatron_core',
  'qalora_group_size',
]);

/** First values that leave the base as it is. Others (PiSSA, OLoRA) change it, and are no adapter of that base. */
const INITIALIZATIONS: readonly unknown[] = [true, false, 'gaussian', 'orthogonal', 'eva'];

/**
 * What an `adapter_config.json` says of size and strength.
 *
 * @param where the file, for messages
 * @throws TrainyardError MODEL_UNSUPPORTED naming a field that asks for what we do not compute; MODEL_UNREADABLE for
 * one that is missing or of another type
 */
export function readPeftConfig(raw: PeftConfig, where: string): AdapterOptions {
  refuse(raw.peft_type === 'LORA', 'peft_type', raw.peft_type, '"LORA"', where);
  refuse((raw.bias ?? 'none') === 'none', 'bias', raw.bias, '"none"', where);
  const initialization = raw.init_lora_weights ?? true;
  refuse(
    INITIALIZATIONS.includes(initialization),
    'init_lora_weights',
    initialization,
    INITIALIZATIONS.map((each) => JSON.stringify(each)).join(', '),
    where,
  );
  for (const [field, value] of Object.entries(raw)) {
    if (WITHOUT_EFFECT.has(field) || field === 'init_lora_weights') continue;
    refuse(isOff(value), field, value, 'nothing, or a value that asks for nothing', where);
  }
  return {
    rank: number(raw, 'r', (value) => Number.isInteger(value) && value > 0, 'a whole number from 1', where),
    alpha: number(raw, 'lora_alpha', (value) => value > 0, 'a number above 0', where),
    dropout: number(
      { lora_dropout: 0, ...raw },
      'lora_dropout',
      isProbability,
      'from 0 up to below 1',
      where,
    ),
  };
}

/** What an adapter is saved with. */
export interface AdapterToDescribe {
  readonly options: AdapterOptions;
  readonly targets: readonly string[];
  /** The base's folder; null for one that was never saved. */
  readonly base: string | null;
  /** The base stores its weights [inputs, outputs]. */
  readonly isTransposed: boolean;
}

/** The `adapter_config.json` of an adapter, with the fields that PEFT needs to load it. */
export function peftConfigOf({ options, targets, base, isTransposed }: AdapterToDescribe): PeftConfig {
  return {
    peft_type: 'LORA',
    task_type: 'CAUSAL_LM',
    base_model_name_or_path: base,
    r: options.rank,
    lora_alpha: options.alpha,
    lora_dropout: options.dropout,
    target_modules: [...targets].sort(),
    bias: 'none',
    fan_in_fan_out: isTransposed,
    inference_mode: true,
    init_lora_weights: true,
    modules_to_save: null,
    use_dora: false,
    use_rslora: false,
  };
}

function isOff(value: unknown): boolean {
  if (value === null || value === undefined || value === false) return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function isProbability(value: number): boolean {
  return value >= 0 && value < 1;
}

function refuse(fits: boolean, field: string, got: unknown, expected: string, where: string): void {
  if (fits) return;
  throw new TrainyardError('MODEL_UNSUPPORTED', {
    what: 'The adapter asks for something that is not supported.',
    where: `${where}: ${field}`,
    expected,
    got: got === undefined ? 'nothing' : JSON.stringify(got),
  });
}

function number(
  raw: PeftConfig,
  field: string,
  fits: (value: number) => boolean,
  expected: string,
  where: string,
): number {
  const value = raw[field];
  if (typeof value === 'number' && Number.isFinite(value) && fits(value)) return value;
  throw new TrainyardError('MODEL_UNREADABLE', {
    what: 'The adapter configuration lacks a field that it needs.',
    where: `${where}: ${field}`,
    expected,
    got: value === undefined ? 'nothing' : JSON.stringify(value),
    cure: "Give a folder in PEFT's layout, as `save_pretrained` writes it.",
  });
}
