/** The model's configuration. */
export const CONFIG_FILE = 'config.json';

/** The configuration of an adapter, in PEFT's layout. */
export const ADAPTER_CONFIG_FILE = 'adapter_config.json';

/** The matrices of an adapter, in PEFT's layout. */
export const ADAPTER_WEIGHTS_FILE = 'adapter_model.safetensors';

/** The weights of a model in one file. */
export const SINGLE_FILE = 'model.safetensors';

/** Says which file holds which tensor, for a model in several files. */
export const INDEX_FILE = 'model.safetensors.index.json';

/** Defaults of generation, among them the tokens that end it. */
export const GENERATION_FILE = 'generation_config.json';

export const TOKENIZER_FILE = 'tokenizer.json';

/** Files that go with a model from folder to folder unchanged. */
export const COMPANION_FILES: readonly string[] = [
  TOKENIZER_FILE,
  'tokenizer_config.json',
  'chat_template.jinja',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'tokenizer.model',
  GENERATION_FILE,
];

/** The name of one of several weight files, counted from 1. */
export function shardName(number: number, count: number): string {
  const digits = (value: number): string => String(value).padStart(5, '0');
  return `model-${digits(number)}-of-${digits(count)}.safetensors`;
}

/** Whether a saved model owns a file of this name, so that the next save in the same folder removes it. */
export function belongsToModel(name: string): boolean {
  const isWeights =
    name === SINGLE_FILE || name === INDEX_FILE || /^model-\d{5}-of-\d{5}\.safetensors$/.test(name);
  const isAdapter = name === ADAPTER_CONFIG_FILE || name === ADAPTER_WEIGHTS_FILE;
  return isWeights || isAdapter || name === CONFIG_FILE || COMPANION_FILES.includes(name);
}
