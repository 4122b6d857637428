import { existsSync, readFileSync } from 'node:fs';
import { inRoot } from '../setup/paths.mjs';

/**
 * docs/errors.md describes exactly the codes of src/base/error-codes.ts, each in a section of its own with the
 * exit code of the table.
 *
 * @returns {string[]}
 */
export function checkErrorDocuments() {
  const source = readFileSync(inRoot('src', 'base', 'error-codes.ts'), 'utf8');
  const codes = [...source.matchAll(/^ {2}([A-Z_]+): \{\s*exitCode: (\d+)/gm)].map(
    ([, code = '', exitCode = '']) => `${code} (exit code ${exitCode})`,
  );
  const path = inRoot('docs', 'errors.md');
  const text = existsSync(path) ? readFileSync(path, 'utf8') : '';
  const documented = [...text.matchAll(/^### (.*)$/gm)].map(([, title = '']) => title);
  return [
    ...codes
      .filter((code) => !documented.includes(code))
      .map((code) => `docs/errors.md: no section "### ${code}"`),
    ...documented
      .filter((title) => !codes.includes(title))
      .map((title) => `docs/errors.md: "### ${title}" is no code`),
  ];
}
