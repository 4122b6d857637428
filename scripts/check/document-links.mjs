import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { inRoot, root } from '../setup/paths.mjs';
import { filesUnder } from '../setup/stamp.mjs';

/** What a link in Markdown leads to: `[text](target)`, without its place in the document. */
const LINK = /\]\(([^)#\s]+)(?:#[^)]*)?\)/g;

/**
 * Documents lead a reader to files: each must be there.
 *
 * @returns {readonly string[]}
 */
export function checkDocumentLinks() {
  const documents = [
    inRoot('README.md'),
    inRoot('ARCHITECTURE.md'),
    ...filesUnder(inRoot('docs'), (name) => name.endsWith('.md')),
  ];
  return documents.flatMap((document) =>
    [...readFileSync(document, 'utf8').matchAll(LINK)]
      .map(([, target = '']) => target)
      .filter((target) => !/^[a-z]+:/.test(target) && !existsSync(join(dirname(document), target)))
      .map((target) => `${relative(root, document)} leads to ${target}, which is not there`),
  );
}
