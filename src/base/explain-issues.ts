import type { z } from 'zod';
import type { JsonPath, JsonValue } from './json-document.js';
import { describeSchema, type JsonSchema, schemaAt, valueBelow } from './json-schema.js';
import { nearestNames } from './nearest-names.js';

/** What a schema refused: a key that it does not know, or a value that does not fit (undefined: is missing). */
export type ExplainedIssue =
  | { readonly kind: 'unknown key'; readonly path: JsonPath }
  | {
      readonly kind: 'value';
      readonly path: JsonPath;
      readonly given: JsonValue | undefined;
      /** What the schema takes there, in words. */
      readonly expected?: string;
      /** The allowed name that was probably meant. */
      readonly meant?: string;
    };

/**
 * Zod's issues as people can use them: one for each unknown key, a choice narrowed to the branch that was
 * meant, and what was expected told from the schema as a whole and not from the one check that failed.
 */
export function explainIssues(
  issues: readonly z.core.$ZodIssue[],
  schema: JsonSchema,
  document: JsonValue,
): readonly ExplainedIssue[] {
  return issues.flatMap((issue) => {
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({ kind: 'unknown key', path: [...pathOf(issue), key] }) as const);
    }
    const inner = innerIssues(issue);
    return inner === undefined
      ? [explainValue(issue, schema, document)]
      : explainIssues(inner, schema, document);
  });
}

/** A value as an error shows it: JSON, cut short. */
export function show(value: JsonValue | undefined): string {
  if (value === undefined) return 'nothing';
  const text = typeof value === 'number' ? String(value) : JSON.stringify(value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}…`;
}

function explainValue(issue: z.core.$ZodIssue, schema: JsonSchema, document: JsonValue): ExplainedIssue {
  const path = pathOf(issue);
  const given = path.reduce<JsonValue | undefined>(valueBelow, document);
  const place = schemaAt(schema, path, document);
  const options = discriminatorOptions(issue) ?? place?.enum;
  const expected =
    options === undefined ? place && describeSchema(place) : `one of ${options.map(show).join(', ')}`;
  const [meant] =
    typeof given === 'string' && options !== undefined ? nearestNames(given, options.map(String), 1) : [];
  return {
    kind: 'value',
    path,
    given,
    ...(expected !== undefined && { expected }),
    ...(meant !== undefined && { meant }),
  };
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

function discriminatorOptions(issue: z.core.$ZodIssue): readonly string[] | undefined {
  if (issue.code !== 'invalid_union' || !('options' in issue) || !Array.isArray(issue.options))
    return undefined;
  return issue.options.map(String);
}

function pathOf(issue: z.core.$ZodIssue): JsonPath {
  return issue.path.map((step) => (typeof step === 'symbol' ? String(step) : step));
}
