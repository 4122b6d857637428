import { type ExplainedIssue, explainIssues, show } from '../../base/explain-issues.js';
import {
  formatPath,
  isJsonObject,
  type JsonObject,
  type JsonPath,
  type JsonValue,
} from '../../base/json-document.js';
import type { ConfigIssue } from './issue.js';
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
  const issues = explainIssues(result.error.issues, known.schema, value).map((issue) =>
    issueOf(issue, value, known),
  );
  const refused = new Set(issues.map((issue) => issue.path[0]));
  const rest = Object.fromEntries(Object.entries(value).filter(([key]) => !refused.has(key)));
  return { config: configSchema.parse(rest), issues };
}

function issueOf(issue: ExplainedIssue, document: JsonValue, known: KnownKeys): ConfigIssue {
  if (issue.kind === 'unknown key') return unknownKey(issue.path, document, known);
  const { path, given, expected, meant } = issue;
  return {
    code: 'CONFIG_INVALID',
    path,
    part: 'value',
    what: `${formatPath(path)} ${given === undefined ? 'is missing' : 'has a wrong value'}.`,
    ...(expected !== undefined && { expected }),
    got: show(given),
    ...(meant !== undefined && { cure: `Did you mean "${meant}"?` }),
  };
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
