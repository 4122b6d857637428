import type { RotaryFrequencies, RotaryScaling } from '../nn/rotary-frequencies.js';
import type { FieldTable, RawConfig } from './config-fields.js';
import { ConfigReader, only, used } from './config-fields.js';

/** Fields of the configuration that say how positions turn queries and keys. */
export const ROTARY_FIELDS: FieldTable = {
  ...used('rope_theta', 'rope_scaling', 'rope_parameters', 'max_position_embeddings'),
  partial_rotary_factor: only([1], 'the whole head is rotated'),
  rope_interleaved: only([false], 'the two halves of a head are rotated against each other'),
  use_mrope: only([false], 'positions of images and video are not computed'),
  original_max_position_embeddings: only([], 'it belongs inside rope_parameters'),
};

const COMMON = {
  ...used('rope_type', 'type', 'rope_theta'),
  partial_rotary_factor: only([1], 'the whole head is rotated'),
};

const SCALING_FIELDS = {
  default: COMMON,
  linear: { ...COMMON, ...used('factor') },
  llama3: {
    ...COMMON,
    ...used('factor', 'low_freq_factor', 'high_freq_factor', 'original_max_position_embeddings'),
  },
} satisfies Record<string, FieldTable>;

type ScalingType = keyof typeof SCALING_FIELDS;

/**
 * Reads the rotary settings in both of Hugging Face's forms: `rope_parameters` (transformers 5), and
 * `rope_theta` beside `rope_scaling` (transformers 4). Where both are given, `rope_scaling` takes the place of
 * `rope_parameters`, and a base inside either goes before the one outside, as there.
 *
 * Throws MODEL_UNSUPPORTED for scaling other than none, `linear` and `llama3`.
 */
export function readRotaryOptions(
  reader: ConfigReader,
  headSize: number,
  maximumPositions: number,
): RotaryFrequencies {
  const name = isFilledObject(reader.object('rope_scaling')) ? 'rope_scaling' : 'rope_parameters';
  const raw = reader.object(name) ?? {};
  const where = `${reader.where}: ${name}`;
  const type = scalingType(raw, reader, name);
  const inner = new ConfigReader(raw, SCALING_FIELDS[type], where, `${reader.subject} ${name}`);
  const theta = inner.positive('rope_theta', reader.positive('rope_theta', 10_000));
  return { headSize, theta, scaling: readScaling(type, inner, maximumPositions) };
}

/**
 * The rotary fields of a configuration in both forms, so that transformers 4 and 5 alike read what we read. A
 * configuration of another architecture, which has none, gives none.
 */
export function rotaryFieldsToSave(raw: RawConfig): RawConfig {
  const given = [raw.rope_scaling, raw.rope_parameters].filter(isFilledObject)[0] ?? {};
  if (!isFilledObject(given) && raw.rope_theta === undefined) return {};
  const { type, rope_type: ropeType, rope_theta: innerTheta, ...settings } = given;
  const theta = innerTheta ?? raw.rope_theta ?? 10_000;
  const scaling = { rope_type: ropeType ?? type ?? 'default', ...settings };
  return {
    rope_parameters: { rope_theta: theta, ...scaling },
    rope_theta: theta,
    rope_scaling: scaling.rope_type === 'default' ? null : scaling,
  };
}

function isFilledObject(value: unknown): value is RawConfig {
  return (
    typeof value === 'object' && value !== null && !Array.isArray(value) && Object.keys(value).length > 0
  );
}

function scalingType(
  raw: Readonly<Record<string, unknown>>,
  reader: ConfigReader,
  name: string,
): ScalingType {
  const given = raw.rope_type ?? raw.type ?? 'default';
  if (given === 'default' || given === 'linear' || given === 'llama3') return given;
  throw reader.unsupported(name, 'a rope_type of default, linear or llama3');
}

function readScaling(type: ScalingType, reader: ConfigReader, maximumPositions: number): RotaryScaling {
  switch (type) {
    case 'default':
      return { kind: 'none' };
    case 'linear':
      return { kind: 'linear', factor: required(reader, 'factor') };
    case 'llama3': {
      const lowFrequencyFactor = required(reader, 'low_freq_factor');
      const highFrequencyFactor = required(reader, 'high_freq_factor');
      if (highFrequencyFactor <= lowFrequencyFactor) {
        throw reader.invalid('high_freq_factor', `more than low_freq_factor, which is ${lowFrequencyFactor}`);
      }
      return {
        kind: 'llama3',
        factor: required(reader, 'factor'),
        lowFrequencyFactor,
        highFrequencyFactor,
        originalLength: reader.integer('original_max_position_embeddings', maximumPositions),
      };
    }
    default:
      return type satisfies never;
  }
}

function required(reader: ConfigReader, name: string): number {
  if (!reader.has(name)) throw reader.invalid(name, 'a number greater than 0');
  return reader.positive(name, 1);
}
