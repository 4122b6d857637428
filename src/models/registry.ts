import { TrainyardError } from '../base/errors.js';
import { nearestNames } from '../base/nearest-names.js';
import type { Model } from '../nn/block.js';
import type { ParameterDeclaration } from '../nn/parameter.js';
import type { DType } from '../tensor/dtype.js';
import type { RawConfig } from './config-fields.js';
import { GPT2_CLASSES, readGpt2Config } from './gpt2/gpt2-config.js';
import { gpt2Model } from './gpt2/gpt2-model.js';
import { HEAD_WEIGHT } from './head.js';
import { llamaModel } from './llama/llama-model.js';
import { LLAMA_VARIANTS } from './llama/llama-variants.js';
import { readLlamaConfig } from './llama/read-llama-config.js';
import { rotaryFieldsToSave } from './rotary-options.js';

interface Architecture {
  /** Classes of transformers that a configuration may name in `architectures`: with the head, and without. */
  readonly classes: readonly [string, string];
  /** What the names of all parameters but the head's begin with; files of the class without a head leave it out. */
  readonly prefix: string;
  readonly build: (raw: RawConfig, where: string) => Model;
}

const ARCHITECTURES: ReadonlyMap<string, Architecture> = new Map([
  ...Object.entries(LLAMA_VARIANTS).map(([name, variant]): [string, Architecture] => [
    name,
    {
      classes: variant.classes,
      prefix: 'model.',
      build: (raw, where) => llamaModel(readLlamaConfig(raw, name, variant, where)),
    },
  ]),
  [
    'gpt2',
    {
      classes: GPT2_CLASSES,
      prefix: 'transformer.',
      build: (raw, where) => gpt2Model(readGpt2Config(raw, where)),
    },
  ],
]);

const architectureNames: readonly string[] = [...ARCHITECTURES.keys()];

/**
 * Builds a model's blocks from a Hugging Face configuration, or from one written in place, where
 * `architecture` stands for `model_type`. Absent fields have the defaults of transformers' classes.
 *
 * @param where the configuration's place in messages: a file, or the key path "model"
 * @throws TrainyardError MODEL_UNSUPPORTED naming a field we do not know or do not compute, CONFIG_INVALID for
 * a wrong type, range or shape.
 */
export function modelFromConfig(raw: RawConfig, where = 'model'): Model {
  const { architecture, ...fields } = raw;
  const name = architectureOf(raw, where);
  const found = architectureNamed(name, where);
  demandKnownClass(found, fields.architectures, where);
  return { ...found.build(fields, where), config: raw };
}

/**
 * The names under which a parameter may be stored, the usual one first: files of a model without its head
 * leave the prefix out ("h.0.ln_1.weight" for "transformer.h.0.ln_1.weight", as in the published GPT-2), and of
 * tied parameters either may be the one that is stored.
 */
export function storedNames(model: Model, name: string): readonly string[] {
  const prefix = ARCHITECTURES.get(model.architecture)?.prefix;
  const withoutPrefix = prefix !== undefined && name.startsWith(prefix) ? [name.slice(prefix.length)] : [];
  const isTiedToHead = headOf(model)?.tiedTo === name;
  return [name, ...withoutPrefix, ...(isTiedToHead ? [HEAD_WEIGHT] : [])];
}

/**
 * Whether a stored tensor that is no parameter may be left unread, since it follows from the configuration:
 * the causal masks of old GPT-2 files, rotary frequencies of old Llama files, a second copy of a tied head.
 */
export function isDerivedWeight(model: Model, stored: string): boolean {
  if (stored === HEAD_WEIGHT) return headOf(model)?.tiedTo !== undefined;
  return model.architecture === 'gpt2'
    ? /(^|\.)attn\.(masked_)?bias$/.test(stored)
    : stored.endsWith('rotary_emb.inv_freq');
}

/**
 * The configuration to write beside a trained model: Hugging Face's, with the class that loads it and the
 * stored type of the weights, in the field names of transformers 4 and 5. That of an architecture which we do
 * not know names no class; it is written as it was given, or else says what every model has.
 */
export function configToSave(model: Model, dtype: DType): RawConfig {
  const { architecture, ...fields } = model.config ?? commonFields(model);
  const type = { model_type: model.architecture, dtype, torch_dtype: dtype };
  const known = model.config && ARCHITECTURES.get(model.architecture);
  if (known === undefined) return { ...fields, ...type };
  return { ...fields, ...rotaryFieldsToSave(fields), ...type, architectures: [known.classes[0]] };
}

function commonFields({ vocabularySize, maximumLength }: Model): RawConfig {
  return {
    vocab_size: vocabularySize,
    ...(maximumLength !== undefined && { max_position_embeddings: maximumLength }),
  };
}

function headOf(model: Model): ParameterDeclaration | undefined {
  return model.blocks.at(-1)?.parameters.find((each) => each.name === HEAD_WEIGHT);
}

function architectureOf(raw: RawConfig, where: string): string {
  const { architecture, model_type: modelType } = raw;
  if (architecture !== undefined && modelType !== undefined && architecture !== modelType) {
    throw new TrainyardError('CONFIG_INVALID', {
      what: 'The model has two architectures.',
      where: `${where}: model_type`,
      expected: `the same as architecture, ${JSON.stringify(architecture)}`,
      got: JSON.stringify(modelType),
    });
  }
  const name = architecture ?? modelType;
  if (typeof name === 'string') return name;
  throw new TrainyardError('CONFIG_INVALID', {
    what: 'The model configuration does not say which architecture it is.',
    where: `${where}: model_type`,
    expected: `one of ${architectureNames.join(', ')}`,
    got: name === undefined ? 'nothing' : JSON.stringify(name),
  });
}

function architectureNamed(name: string, where: string): Architecture {
  const found = ARCHITECTURES.get(name);
  if (found !== undefined) return found;
  const [near] = nearestNames(name, architectureNames, 1);
  throw new TrainyardError('MODEL_UNSUPPORTED', {
    what: `The architecture ${JSON.stringify(name)} is not supported.`,
    where: `${where}: model_type`,
    expected: `one of ${architectureNames.join(', ')}`,
    got: JSON.stringify(name),
    ...(near !== undefined && { cure: `Did you mean ${near}?` }),
  });
}

function demandKnownClass(architecture: Architecture, classes: unknown, where: string): void {
  if (classes === undefined || classes === null) return;
  const known: readonly unknown[] = architecture.classes;
  if (Array.isArray(classes) && classes.length > 0 && classes.every((each) => known.includes(each))) return;
  throw new TrainyardError('MODEL_UNSUPPORTED', {
    what: 'The configuration is that of a model for another task.',
    where: `${where}: architectures`,
    expected: architecture.classes.map((each) => JSON.stringify([each])).join(' or '),
    got: JSON.stringify(classes),
  });
}
