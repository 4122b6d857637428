#!/usr/bin/env node
/**
 * `npm run check`: types, lint and format, floors, file sizes, exports, environment access, error
 * documentation, links in documents. Every rule that is broken is named with its place; the exit code is 1 if there is any.
 */
import { existsSync } from 'node:fs';
import { checkDocumentLinks } from './check/document-links.mjs';
import { checkEnvironmentAccess } from './check/environment-access.mjs';
import { checkErrorDocuments } from './check/error-documents.mjs';
import { checkExports } from './check/exports.mjs';
import { checkFloors } from './check/floors.mjs';
import { readModules } from './check/modules.mjs';
import { checkSizes } from './check/sizes.mjs';
import { inRoot, root } from './setup/paths.mjs';
import { runStep } from './setup/tools.mjs';

if (!existsSync(inRoot('node_modules', 'typescript'))) {
  console.error('The npm packages are not installed.\n  cure      npm run setup');
  process.exit(2);
}

const started = performance.now();
const [types, style, modules] = await Promise.all([
  runStep(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json', '--noEmit'], {
    cwd: root,
  }),
  runStep('node_modules/.bin/biome', ['check', '--max-diagnostics=50', '.'], { cwd: root }),
  readModules(),
]);
/** @type {readonly { name: string, problems: readonly string[] }[]} */
const results = [
  { name: 'types', problems: types.status === 0 ? [] : [types.output.trimEnd()] },
  { name: 'lint and format', problems: style.status === 0 ? [] : [style.output.trimEnd()] },
  { name: 'floors', problems: checkFloors(modules) },
  { name: 'file sizes', problems: checkSizes() },
  { name: 'exports', problems: checkExports(modules) },
  { name: 'environment access', problems: checkEnvironmentAccess(modules) },
  { name: 'error documents', problems: checkErrorDocuments() },
  { name: 'links in documents', problems: checkDocumentLinks() },
];
for (const { name, problems } of results) {
  console.log(`${problems.length === 0 ? 'ok    ' : 'FAILED'} ${name}`);
  for (const problem of problems) console.log(problem.replace(/^/gm, '       '));
}
console.log(`${((performance.now() - started) / 1000).toFixed(1)} s`);
if (results.some(({ problems }) => problems.length > 0)) process.exitCode = 1;
