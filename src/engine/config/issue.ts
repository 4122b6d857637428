import type { ErrorCode } from '../../base/error-codes.js';
import type { ErrorReport } from '../../base/errors.js';
import { formatReport, TrainyardError } from '../../base/errors.js';
import { formatPath, type JsonPath } from '../../base/json-document.js';
import type { ConfigOrigin } from './origin.js';

/** One thing that is wrong with a configuration. */
export interface ConfigIssue {
  readonly code: ErrorCode;
  readonly path: JsonPath;
  /** Whether the key itself is wrong, or its value. */
  readonly part: 'key' | 'value';
  readonly what: string;
  readonly expected?: string;
  readonly got?: string;
  readonly cure?: string;
}

const MOST_SHOWN = 20;

/** All the issues of one configuration as one error, in the order of the file. */
export function errorOf(issues: readonly ConfigIssue[], origin: ConfigOrigin): TrainyardError {
  const ordered = [...issues].sort((left, right) => origin.rank(left) - origin.rank(right));
  const errors = ordered.map((issue) => new TrainyardError(issue.code, reportOf(issue, origin)));
  const [first] = errors;
  if (first !== undefined && errors.length === 1) return first;
  const shown = errors.slice(0, MOST_SHOWN).map((error) => formatReport(error.report));
  if (errors.length > MOST_SHOWN) shown.push(`… and ${errors.length - MOST_SHOWN} more.`);
  return new TrainyardError(
    first?.code ?? 'CONFIG_INVALID',
    { what: [`${origin.name} has ${errors.length} errors.`, ...shown].join('\n') },
    { cause: new AggregateError(errors) },
  );
}

function reportOf(issue: ConfigIssue, origin: ConfigOrigin): ErrorReport {
  const { code: _code, path, part, ...report } = issue;
  const place = origin.describe(path, part);
  const key = formatPath(path);
  return { ...report, where: key === '' ? place : `${key} (${place})` };
}
