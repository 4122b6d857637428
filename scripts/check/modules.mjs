import { readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import ts from 'typescript';
import { inRoot, root } from '../setup/paths.mjs';
import { filesUnder } from '../setup/stamp.mjs';

/**
 * One import, re-export or `import()` of a module.
 *
 * @typedef {object} Import
 * @property {string} specifier as it is written
 * @property {string | undefined} target the file it means, when that is one of ours: "src/base/errors.ts"
 * @property {readonly string[] | 'all'} names what is taken from it; a default import is "default"
 * @property {number} line counted from 1
 *
 * @typedef {{ name: string, line: number, isType: boolean }} Export
 *
 * @typedef {object} Module
 * @property {string} path "src/base/errors.ts"
 * @property {string} text
 * @property {readonly Import[]} imports
 * @property {readonly Export[]} exports what it declares or passes on by name
 */

/** Reads every TypeScript module of src and test. @returns {Promise<readonly Module[]>} */
export async function readModules() {
  const isSource = (/** @type {string} */ name) => name.endsWith('.ts');
  return ['src', 'test'].flatMap((folder) => filesUnder(inRoot(folder), isSource)).map(readModule);
}

/** @param {string} file @returns {Module} */
function readModule(file) {
  const path = relative(root, file);
  const text = readFileSync(file, 'utf8');
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, false);
  /** @type {Import[]} */
  const imports = [];
  /** @type {Export[]} */
  const exports = [];
  const lineOf = (/** @type {ts.Node} */ node) =>
    source.getLineAndCharacterOfPosition(node.getStart(source)).line + 1;
  const addImport = (
    /** @type {ts.Node} */ node,
    /** @type {string} */ specifier,
    /** @type {Import['names']} */ names,
  ) => imports.push({ specifier, target: resolveSpecifier(path, specifier), names, line: lineOf(node) });

  /** @param {ts.Node} node */
  const visit = (node) => {
    if (ts.isImportDeclaration(node) && ts.isStringLiteral(node.moduleSpecifier)) {
      addImport(node, node.moduleSpecifier.text, importedNames(node));
    } else if (ts.isExportDeclaration(node)) {
      const clause = node.exportClause;
      const elements = clause && ts.isNamedExports(clause) ? clause.elements : [];
      exports.push(
        ...elements.map((element) => ({ name: element.name.text, line: lineOf(element), isType: false })),
      );
      if (node.moduleSpecifier && ts.isStringLiteral(node.moduleSpecifier)) {
        const names = elements.map((element) => (element.propertyName ?? element.name).text);
        addImport(node, node.moduleSpecifier.text, clause && ts.isNamedExports(clause) ? names : 'all');
      }
    } else if (ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword) {
      const [argument] = node.arguments;
      if (argument && ts.isStringLiteral(argument)) addImport(node, argument.text, 'all');
    } else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) {
      const { literal } = node.argument;
      if (ts.isStringLiteral(literal)) addImport(node, literal.text, 'all');
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  for (const statement of source.statements) {
    const isType = ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement);
    exports.push(...declaredExports(statement).map((name) => ({ name, line: lineOf(statement), isType })));
  }
  return { path, text, imports, exports };
}

/** @param {ts.ImportDeclaration} node @returns {Import['names']} */
function importedNames({ importClause }) {
  if (importClause === undefined) return [];
  const { name, namedBindings } = importClause;
  if (namedBindings && ts.isNamespaceImport(namedBindings)) return 'all';
  const named = namedBindings?.elements.map((element) => (element.propertyName ?? element.name).text) ?? [];
  return name === undefined ? named : ['default', ...named];
}

/** Names that a statement declares with the word `export` before it. @param {ts.Statement} statement */
function declaredExports(statement) {
  const isExported =
    ts.canHaveModifiers(statement) &&
    ts.getModifiers(statement)?.some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword) === true;
  if (!isExported) return [];
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.flatMap(({ name }) => bindingNames(name));
  }
  const { name } = /** @type {ts.DeclarationStatement} */ (statement);
  return name === undefined ? ['default'] : [name.text];
}

/** @param {ts.BindingName} name @returns {string[]} */
function bindingNames(name) {
  if (ts.isIdentifier(name)) return [name.text];
  return name.elements.flatMap((element) => (ts.isBindingElement(element) ? bindingNames(element.name) : []));
}

/**
 * The source file behind a relative specifier: `./x.js` is written for `x.ts`.
 * @param {string} from
 * @param {string} specifier
 */
function resolveSpecifier(from, specifier) {
  if (!specifier.startsWith('.')) return undefined;
  return normalize(join(dirname(from), specifier)).replace(/\.js$/, '.ts');
}
