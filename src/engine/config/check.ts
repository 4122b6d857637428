import type { z } from 'zod';
import {
  formatPath,
  isJsonObject,
  type JsonObject,
  type JsonPath,
  type JsonValue,
} from '../../base/json-document.js';
import { describeSchema, schemaAt, valueBelow } from '../../base/json-schema.js';
import { nearestNames } from '../../base/nearest-names.js';
import { type ConfigIssue, show } from './issue.js';
import type { KnownKeys } from './known-keys.js';
import { type CheckedConfig, configSchema } from './schema.js';
import { unknownKey } from './unknown-key.js';

/** A configuration after the schemas: what they accepted, and what they refused. */
export interface Checked {
  /** The configuration without the top-level keys that have issues. */
  readonly config: CheckedConfig;
  readonly issues: readonly ConfigIssue[];
}

/** Checks a configuration against the schemas and fills in the defaults. */
export function checkSchema(value: JsonObject, known: KnownKeys): Checked {
  const result = configSchema.safeParse(value);
  if (result.success) return { config: result.data, issues: [] };
  const issues = result.error.issues.flatMap((issue) => issuesOf(issue, value, known));
  const refused = new Set(issues.map((issue) => issue.path[0]));
  const rest = Object.fromEntries(Object.entries(value).filter(([key]) => !refused.has(key)));
  return { config: configSchema.parse(rest), issues };
}

function issuesOf(issue: z.core.$ZodIssue, document: JsonValue, known: KnownKeys): readonly ConfigIssue[] {
  const path = issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => unknownKey([...path, key], document, known));
  }
  const inner = innerIssues(issue);
  if (inner !== undefined) return inner.flatMap((below) => issuesOf(below, document, known));
  const given = path.reduce<JsonValue | undefined>(valueBelow, document);
  const schema = schemaAt(known.schema, path, document);
  const options = discriminatorOptions(issue) ?? schema?.enum;
  const expected =
    options === undefined ? schema && describeSchema(schema) : `one of ${options.map(quoted).join(', ')}`;
  const meant =
    typeof given === 'string' && options !== undefined
      ? nearestNames(given, options.map(String), 1)[0]
      : undefined;
  return [
    {
      code: 'CONFIG_INVALID',
      path,
      part: 'value',
      what: sentence(path, given),
      ...(expected === undefined ? {} : { expected }),
      got: given === undefined ? 'nothing' : show(given),
      ...(meant === undefined ? {} : { cure: `Did you mean "${meant}"?` }),
    },
  ];
}

/**
 * The issues of the branch of a choice that was meant: the one whose outer type fits and which fails further
 * in. Undefined when no branch fits at all.
 */
function innerIssues(issue: z.core.$ZodIssue): readonly z.core.$ZodIssue[] | undefined {
  if (issue.code !== 'invalid_union') return undefined;
  const meant = issue.errors.find((branch) => branch.every(({ path }) => path.length > 0));
  return meant?.map((below) => ({ ...below, path: [...issue.path, ...below.path] }));
}

function sentence(path: JsonPath, given: JsonValue | undefined): string {
  const name = formatPath(path);
  if (name === '') return 'The configuration is not an object.';
  return given === undefined ? `${name} is missing.` : `${name} has a wrong value.`;
}

function discriminatorOptions(issue: z.core.$ZodIssue): readonly string[] | undefined {
  if (issue.code !== 'invalid_union' || !('options' in issue) || !Array.isArray(issue.options))
    return undefined;
  return issue.options.map(String);
}

function quoted(value: JsonValue): string {
  return JSON.stringify(value);
}

/** Whether two paths lie on one line from the root, so that an issue at one explains an issue at the other. */
export function related(left: JsonPath, right: JsonPath): boolean {
  const length = Math.min(left.length, right.length);
  return left.slice(0, length).every((step, index) => step === right[index]);
}

/** DeepSpeed takes an optimizer's name in any case; the schemas know one spelling. */
export function withCanonicalNames(config: JsonObject, known: KnownKeys): JsonObject {
  const optimizer = config.optimizer;
  if (!isJsonObject(optimizer) || typeof optimizer.type !== 'string') return config;
  const names = (known.schema.properties?.optimizer?.oneOf ?? []).map(
    (choice) => choice.properties?.type?.const,
  );
  const given = optimizer.type.toLowerCase();
  const name = names.find((candidate) => typeof candidate === 'string' && candidate.toLowerCase() === given);
  return name === undefined ? config : { ...config, optimizer: { ...optimizer, type: name } };
}
