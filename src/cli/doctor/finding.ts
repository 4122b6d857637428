/** What one check of the installation found. */
export interface Finding {
  readonly name: string;
  /** `missing` stops training; `warning` slows it down or takes a feature away. */
  readonly status: 'ok' | 'warning' | 'missing';
  readonly found: string;
  readonly cure?: string;
}

const MARKS = { ok: 'ok', warning: 'warning', missing: 'MISSING' } as const satisfies Record<
  Finding['status'],
  string
>;
const NAME_WIDTH = 14;
const MARK_WIDTH = 9;

/** Findings as a person reads them: a line each, the cure below. */
export function formatFindings(findings: readonly Finding[]): string {
  return findings
    .flatMap(({ name, status, found, cure }) => [
      `${name.padEnd(NAME_WIDTH)}${MARKS[status].padEnd(MARK_WIDTH)}${found}`,
      ...(cure === undefined ? [] : [`${' '.repeat(NAME_WIDTH)}${'cure'.padEnd(MARK_WIDTH)}${cure}`]),
    ])
    .join('\n');
}
