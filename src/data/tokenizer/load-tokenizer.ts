import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { z } from 'zod';
import { TrainyardError } from '../../base/errors.js';
import { explainIssues, show } from '../../base/explain-issues.js';
import { formatPath, type JsonValue } from '../../base/json-document.js';
import { jsonSchemaOf } from '../../base/json-schema.js';
import { isFolder } from '../../store/file-system.js';
import { readSmallFile, UnusableFile } from '../../store/open-file.js';
import type { Tokenizer } from '../tokenizer.js';
import { ByteLevelBpe } from './byte-level-bpe.js';
import { ByteTokenizer } from './byte-tokenizer.js';
import { faultOfComponents } from './check-components.js';
import { HuggingFaceTokenizer } from './hugging-face-tokenizer.js';
import { recognizeByteLevelBpe } from './recognize-byte-level-bpe.js';
import { namedTokensSchema, specialTokenIds, statedIdsSchema } from './special-tokens.js';
import { type TokenizerJson, tokenizerJsonSchema, vocabularyEntries } from './tokenizer-json.js';
import type { TokenizerSetting } from './tokenizer-setting.js';

/** Real files stay below 40 MB and 300,000 entries. */
const LARGEST_FILE_BYTES = 128 * 1024 * 1024;
const LARGEST_ID = 2 ** 21 - 1;

const chatTemplateSchema = z.union([
  z.string(),
  z.array(z.looseObject({ name: z.string(), template: z.string() })),
]);

/** The file that holds a tokenizer of Hugging Face's. */
const TOKENIZER_FILE = 'tokenizer.json';

/** Whether a model's folder brings a tokenizer. */
export function hasTokenizer(directory: string): boolean {
  return existsSync(join(directory, TOKENIZER_FILE));
}

/**
 * Makes the tokenizer that a configuration names.
 *
 * @param specification `bytes`, or the path of a `tokenizer.json` or of a folder that holds one.
 * @param baseDirectory what a relative path is relative to; the working directory where left out.
 * @throws TOKENIZER_INVALID when there is none, or the file is not a tokenizer.
 */
export function loadTokenizer(specification: string, baseDirectory = process.cwd()): Tokenizer {
  if (specification === 'bytes') return new ByteTokenizer();
  const path = resolve(baseDirectory, specification);
  const file = isFolder(path) ? join(path, TOKENIZER_FILE) : path;
  return loadTokenizerFile(file);
}

function loadTokenizerFile(file: string): Tokenizer {
  const directory = dirname(file);
  const source = readText(file);
  if (source === undefined) {
    throw invalid(file, {
      what: 'There is no tokenizer.',
      expected: 'a tokenizer.json, a folder that holds one, or the word `bytes`',
      cure: 'Check data.tokenizer, or make one with `trainyard tokenizer train`.',
    });
  }
  const json = parse(file, source, tokenizerJsonSchema);
  const fault = faultOfComponents(json);
  if (fault !== undefined) {
    const { path, ...report } = fault;
    throw invalid(path === '' ? file : `${file}: ${path}`, report);
  }
  const configFile = join(directory, 'tokenizer_config.json');
  const configSource = readText(configFile);
  const config = parse(configFile, configSource ?? '{}', namedTokensSchema);
  const setting = settingOf(file, json, config, source, configSource);
  const definition = recognizeByteLevelBpe(json, file);
  return definition === undefined
    ? new HuggingFaceTokenizer(json, config, setting, file)
    : new ByteLevelBpe(definition, setting);
}

function settingOf(
  file: string,
  json: TokenizerJson,
  config: z.output<typeof namedTokensSchema>,
  source: string,
  configSource: string | undefined,
): TokenizerSetting {
  const ids = new Map(vocabularyEntries(json));
  for (const { content, id } of json.added_tokens) ids.set(content, id);
  let largest = -1;
  for (const id of ids.values()) largest = Math.max(largest, id);
  if (largest > LARGEST_ID) {
    throw invalid(file, {
      what: 'A token id is too large.',
      expected: `at most ${LARGEST_ID}`,
      got: `${largest}`,
    });
  }
  const specials = new Set(json.added_tokens.flatMap(({ id, special }) => (special ? [id] : [])));
  const special = specialTokenIds({
    names: config,
    stated: statedIds(dirname(file)),
    idOf: (content) => ids.get(content),
    isSpecial: (id) => specials.has(id),
  });
  const templateFile = join(dirname(file), 'chat_template.jinja');
  const templateSource = readText(templateFile);
  const chatTemplate = templateSource ?? templateInConfig(config.chat_template, dirname(file));
  return {
    identity: `huggingface:${createHash('sha256').update(source).digest('hex')}:${special.end ?? 'none'}`,
    vocabularySize: largest + 1,
    special,
    chatTemplate,
    templateVariables: Object.fromEntries(
      Object.entries(namedTokensSchema.shape).map(([name]) => [name, String(config[name] ?? '')]),
    ),
    files: presentFiles({
      [TOKENIZER_FILE]: source,
      'tokenizer_config.json': configSource,
      [basename(templateFile)]: templateSource,
    }),
  };
}

function statedIds(directory: string): z.output<typeof statedIdsSchema> {
  for (const name of ['generation_config.json', 'config.json']) {
    const source = readText(join(directory, name));
    const parsed = source === undefined ? undefined : parse(join(directory, name), source, statedIdsSchema);
    if (parsed?.eos_token_id !== undefined) return parsed;
  }
  return { bos_token_id: undefined, eos_token_id: undefined, pad_token_id: undefined };
}

function templateInConfig(value: unknown, directory: string): string | undefined {
  if (value === undefined || value === null) return undefined;
  const template = chatTemplateSchema.safeParse(value);
  if (!template.success) {
    throw invalid(join(directory, 'tokenizer_config.json'), {
      what: 'The chat template is not usable.',
      expected: 'chat_template: text, or a list of {name, template}',
    });
  }
  if (typeof template.data === 'string') return template.data;
  return (template.data.find(({ name }) => name === 'default') ?? template.data[0])?.template;
}

function presentFiles(files: Readonly<Record<string, string | undefined>>): ReadonlyMap<string, string> {
  return new Map(Object.entries(files).flatMap(([name, text]) => (text === undefined ? [] : [[name, text]])));
}

function readText(file: string): string | undefined {
  if (!existsSync(file)) return undefined;
  try {
    return Buffer.from(readSmallFile(file, LARGEST_FILE_BYTES)).toString('utf8');
  } catch (error) {
    if (!(error instanceof UnusableFile)) throw error;
    throw invalid(file, { what: 'A file of the tokenizer cannot be read.', got: error.message });
  }
}

function parse<Schema extends z.ZodType>(file: string, source: string, schema: Schema): z.output<Schema> {
  let value: JsonValue;
  try {
    value = JSON.parse(source) as JsonValue;
  } catch (error) {
    throw invalid(file, { what: 'The file is not JSON.', got: error instanceof Error ? error.message : '' });
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = explainIssues(result.error.issues, jsonSchemaOf(schema), value);
  throw invalid(`${file}: ${formatPath(issue?.path ?? []) || '(top level)'}`, {
    what: 'The file is not a tokenizer of Hugging Face’s form.',
    ...(issue?.kind === 'value' && {
      ...(issue.expected !== undefined && { expected: issue.expected }),
      got: show(issue.given),
    }),
  });
}

function invalid(
  where: string,
  report: {
    readonly what: string;
    readonly expected?: string;
    readonly got?: string;
    readonly cure?: string;
  },
): TrainyardError {
  return new TrainyardError('TOKENIZER_INVALID', { ...report, where });
}
