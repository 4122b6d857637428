import { cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A run whose configuration is right and whose files are not. */
export interface BadFile {
  readonly name: string;
  /** Spoils a good run in `folder`: its `model/` folder and its `text.txt`. */
  spoil(folder: string): void;
  /** Keys put over those of the good configuration. */
  keys?(folder: string): Readonly<Record<string, unknown>>;
  readonly code: string;
  readonly says: readonly string[];
}

const models = fileURLToPath(new URL('../../test/fixtures/models', import.meta.url));

/** A model for the tokenizer `bytes`, described in place. */
const byteModel = {
  architecture: 'llama',
  vocab_size: 256,
  hidden_size: 16,
  num_attention_heads: 2,
  num_hidden_layers: 1,
};

/** Makes a folder whose run is good: a small Llama, a text, a configuration. Returns the configuration. */
export function goodRun(folder: string): Readonly<Record<string, unknown>> {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  cpSync(join(models, 'llama-gqa-tied'), join(folder, 'model'), { recursive: true });
  cpSync(join(models, 'mistral-sharded'), join(folder, 'sharded'), { recursive: true });
  writeFileSync(join(folder, 'text.txt'), 'The good run reads this line. '.repeat(40));
  return {
    model: join(folder, 'model'),
    data: { path: join(folder, 'model', 'batches.jsonl'), sequence_length: 24 },
    steps: 1,
    train_batch_size: 2,
  };
}

/** Files that are missing, damaged or do not fit, each with the one error that it must lead to. */
export const badFiles: readonly BadFile[] = [
  ...badModels(),
  ...badWeights(),
  ...badData(),
  ...badTokenizers(),
];

function badModels(): BadFile[] {
  const config = (name: string, change: object, code: string, ...says: string[]): BadFile => ({
    name: `model: ${name}`,
    spoil: (folder) => changeJson(join(folder, 'model', 'config.json'), change),
    code,
    says,
  });
  return [
    {
      name: 'model: no such folder',
      spoil: (folder) => rmSync(join(folder, 'model', 'config.json')),
      code: 'MODEL_UNREADABLE',
      says: ['config.json'],
    },
    {
      name: 'model: a path that is nowhere',
      spoil: () => undefined,
      keys: (folder) => ({ model: join(folder, 'nowhere') }),
      code: 'MODEL_UNREADABLE',
      says: ['nowhere'],
    },
    {
      name: 'model: a file for a folder',
      spoil: () => undefined,
      keys: (folder) => ({ model: join(folder, 'text.txt') }),
      code: 'MODEL_UNREADABLE',
      says: ['text.txt'],
    },
    {
      name: 'model: a config.json that is no JSON',
      spoil: (folder) => writeFileSync(join(folder, 'model', 'config.json'), '{"model_type": '),
      code: 'MODEL_UNREADABLE',
      says: ['config.json'],
    },
    config('an architecture nobody has', { model_type: 'lama' }, 'MODEL_UNSUPPORTED', 'lama', 'llama'),
    config('an activation nobody has', { hidden_act: 'swoosh' }, 'MODEL_UNSUPPORTED', 'hidden_act', 'swoosh'),
    config('heads that do not divide', { num_attention_heads: 5 }, 'CONFIG_INVALID', 'num_attention_heads'),
    config('a size as text', { hidden_size: 'large' }, 'CONFIG_INVALID', 'hidden_size'),
    config('a negative number of layers', { num_hidden_layers: -1 }, 'CONFIG_INVALID', 'num_hidden_layers'),
    config(
      'a field that nobody knows',
      { attention_flavour: 'mint' },
      'MODEL_UNSUPPORTED',
      'attention_flavour',
    ),
    {
      name: 'model: described in place, with a field that nobody knows',
      spoil: () => undefined,
      keys: () => ({ model: { architecture: 'llama', hidden_sizes: 64 } }),
      code: 'MODEL_UNSUPPORTED',
      says: ['hidden_sizes', 'hidden_size'],
    },
  ];
}

function badWeights(): BadFile[] {
  const weights = (name: string, spoil: (path: string) => void, ...says: string[]): BadFile => ({
    name: `weights: ${name}`,
    spoil: (folder) => spoil(join(folder, 'model', 'model.safetensors')),
    code: 'SAFETENSORS_INVALID',
    says: ['model.safetensors', ...says],
  });
  const header = (name: string, change: (header: SafetensorsHeader) => unknown, ...says: string[]) =>
    weights(name, (path) => changeHeader(path, change), ...says);
  return [
    { ...weights('missing', (path) => rmSync(path)), code: 'MODEL_UNREADABLE' },
    weights('an empty file', (path) => truncateSync(path, 0)),
    weights('cut short', (path) => truncateSync(path, readFileSync(path).length - 100)),
    weights('longer than its header says', (path) => writeFileSync(path, Buffer.alloc(8), { flag: 'a' })),
    weights('a header longer than the file', (path) =>
      writeFileSync(path, Buffer.from('ffffffffffffff7f', 'hex')),
    ),
    weights('no safetensors at all', (path) =>
      writeFileSync(path, 'PK\u0003\u0004 this is a zip, or says so'),
    ),
    header('a header that is no JSON', () => '{"model'),
    header('an unknown data type', (tensors) => withFirst(tensors, { dtype: 'F33' }), 'F33'),
    header('a shape that does not match its bytes', (tensors) => withFirst(tensors, { shape: [3] })),
    header('a negative dimension', (tensors) => withFirst(tensors, { shape: [-1] })),
    header('offsets beyond the file', (tensors) => withFirst(tensors, { data_offsets: [0, 2 ** 40] })),
    {
      name: 'weights: a tensor missing',
      spoil: (folder) => changeJson(join(folder, 'model', 'config.json'), { num_hidden_layers: 3 }),
      code: 'MODEL_UNREADABLE',
      says: ['model.layers.2'],
    },
    {
      name: 'weights: a tensor of another shape',
      spoil: (folder) => changeJson(join(folder, 'model', 'config.json'), { intermediate_size: 52 }),
      code: 'MODEL_UNREADABLE',
      says: ['mlp', '52'],
    },
    {
      name: 'weights: a shard missing',
      spoil: (folder) => rmSync(join(folder, 'sharded', 'model-00002-of-00003.safetensors')),
      keys: (folder) => ({ model: join(folder, 'sharded') }),
      code: 'MODEL_UNREADABLE',
      says: ['model-00002-of-00003.safetensors'],
    },
    {
      name: 'weights: a shard outside the folder',
      spoil: (folder) =>
        changeJson(join(folder, 'sharded', 'model.safetensors.index.json'), {
          weight_map: { 'lm_head.weight': '../../etc/passwd' },
        }),
      keys: (folder) => ({ model: join(folder, 'sharded') }),
      code: 'MODEL_UNREADABLE',
      says: ['../../etc/passwd'],
    },
  ];
}

function badData(): BadFile[] {
  const data = (
    name: string,
    file: string,
    content: string | Buffer,
    code: string,
    ...says: string[]
  ): BadFile => ({
    name: `data: ${name}`,
    spoil: (folder) => writeFileSync(join(folder, file), content),
    keys: (folder) => ({
      model: byteModel,
      data: { path: join(folder, file), tokenizer: 'bytes', sequence_length: 16 },
    }),
    code,
    says: [file, ...says],
  });
  return [
    {
      name: 'data: a path that matches nothing',
      spoil: () => undefined,
      keys: (folder) => ({ data: { path: join(folder, '*.nothing') } }),
      code: 'DATA_UNREADABLE',
      says: ['*.nothing'],
    },
    {
      name: 'data: sequences longer than the model takes',
      spoil: () => undefined,
      keys: (folder) => ({
        model: { architecture: 'gpt2', vocab_size: 256, n_embd: 16, n_head: 2, n_layer: 1, n_positions: 64 },
        data: { path: join(folder, 'text.txt'), tokenizer: 'bytes', sequence_length: 4096 },
      }),
      code: 'CONFIG_CONFLICT',
      says: ['data.sequence_length', '4096', '64'],
    },
    data('a line that is no JSON', 'bad.jsonl', '{"text": "good"}\n{"text": bad}\n', 'DATA_INVALID', ':2'),
    data('a line without text', 'empty.jsonl', '{"text": "good"}\n{"txt": "bad"}\n', 'DATA_INVALID', ':2'),
    data('ids as text', 'ids.jsonl', '{"input_ids": ["a", "b"]}\n', 'DATA_INVALID', ':1'),
    data(
      'an id beyond the vocabulary',
      'large.jsonl',
      '{"input_ids": [1, 2, 5000]}\n',
      'DATA_INVALID',
      '5000',
    ),
    data('a negative id', 'negative.jsonl', '{"input_ids": [1, -2]}\n', 'DATA_INVALID', '-2'),
    data('a parquet file that is none', 'bad.parquet', 'PAR1 and nothing more', 'DATA_INVALID'),
    data(
      'text that is not UTF-8',
      'latin.txt',
      Buffer.from('caf\u00e9 '.repeat(50), 'latin1'),
      'DATA_INVALID',
      ':1',
    ),
    data('nothing in it', 'void.txt', '', 'DATA_INVALID'),
  ];
}

function badTokenizers(): BadFile[] {
  const text = (folder: string, tokenizer?: string) => ({
    data: {
      path: join(folder, 'text.txt'),
      sequence_length: 16,
      ...(tokenizer === undefined ? {} : { tokenizer }),
    },
  });
  const own = (name: string, content: string, ...says: string[]): BadFile => ({
    name: `tokenizer: ${name}`,
    spoil: (folder) => writeFileSync(join(folder, 'tokenizer.json'), content),
    keys: (folder) => text(folder, join(folder, 'tokenizer.json')),
    code: 'TOKENIZER_INVALID',
    says: ['tokenizer.json', ...says],
  });
  return [
    {
      name: 'tokenizer: none in the model folder',
      spoil: () => undefined,
      keys: (folder) => text(folder),
      code: 'TOKENIZER_INVALID',
      says: ['tokenizer'],
    },
    {
      name: 'tokenizer: a path that the system does not take',
      spoil: () => undefined,
      keys: (folder) => text(folder, join(folder, 'n\0where.json')),
      code: 'TOKENIZER_INVALID',
      says: ['n\\u0000where.json'],
    },
    {
      name: 'tokenizer: a path that is nowhere',
      spoil: () => undefined,
      keys: (folder) => text(folder, join(folder, 'nowhere.json')),
      code: 'TOKENIZER_INVALID',
      says: ['nowhere.json'],
    },
    {
      name: 'tokenizer: more ids than the model has',
      spoil: () => undefined,
      keys: (folder) => text(folder, 'bytes'),
      code: 'TOKENIZER_INVALID',
      says: ['128'],
    },
    own('no JSON', '{"model": '),
    own('an empty object', '{}'),
    own('a kind that nobody has', '{"model": {"type": "Magic", "vocab": {}}}', 'Magic'),
  ];
}

type SafetensorsHeader = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

function withFirst(header: SafetensorsHeader, change: object): unknown {
  const name = Object.keys(header).find((key) => key !== '__metadata__') ?? '';
  return { ...header, [name]: { ...header[name], ...change } };
}

function changeHeader(path: string, change: (header: SafetensorsHeader) => unknown): void {
  const bytes = readFileSync(path);
  const length = Number(bytes.readBigUInt64LE(0));
  const changed = change(JSON.parse(bytes.toString('utf8', 8, 8 + length)));
  const header = Buffer.from(typeof changed === 'string' ? changed : JSON.stringify(changed));
  const lead = Buffer.alloc(8);
  lead.writeBigUInt64LE(BigInt(header.length));
  writeFileSync(path, Buffer.concat([lead, header, bytes.subarray(8 + length)]));
}

function changeJson(path: string, change: object): void {
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }));
}
