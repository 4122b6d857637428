import { isUtf8 } from 'node:buffer';
import { readFileSync, statSync } from 'node:fs';
import {
  createScanner,
  findNodeAtLocation,
  type Node,
  type ParseError,
  parseTree,
  printParseErrorCode,
} from 'jsonc-parser';
import { TrainyardError } from './errors.js';

/** Any value that JSON can hold. */
export type JsonValue = string | number | boolean | null | readonly JsonValue[] | JsonObject;

/** A JSON object. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

/** The way from the root of a document to a value in it. */
export type JsonPath = readonly (string | number)[];

/** A place in a text; both count from 1. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** A parsed JSON text that remembers where everything stood. */
export interface JsonDocument {
  readonly name: string;
  readonly value: JsonValue;
  /** Where the value at `path` begins, or its key; undefined when the document has no such path. */
  locate(path: JsonPath, part: 'key' | 'value'): TextPosition | undefined;
}

const LARGEST_FILE = 16 * 2 ** 20;
const DEEPEST_NESTING = 64;
const REFUSED_KEYS: readonly string[] = ['__proto__'];

/**
 * Reads a JSON file in which comments and trailing commas are allowed.
 *
 * @throws TrainyardError CONFIG_UNREADABLE: no such file, too large, not UTF-8, not JSON, nested too deeply, a
 *   key given twice.
 */
export function readJsonDocument(path: string): JsonDocument {
  let bytes: Buffer;
  try {
    if (isStream(path)) throw new Error('a pipe or a device, which every process would have to read');
    bytes = readFileSync(path);
  } catch (cause) {
    throw new TrainyardError('CONFIG_UNREADABLE', {
      what: `Cannot read ${path}.`,
      expected: 'a readable JSON file',
      got: cause instanceof Error ? reasonOf(cause) : String(cause),
    });
  }
  if (bytes.length > LARGEST_FILE) {
    throw new TrainyardError('CONFIG_UNREADABLE', {
      what: `${path} is too large to be a configuration.`,
      expected: `at most ${LARGEST_FILE} bytes`,
      got: `${bytes.length} bytes`,
    });
  }
  if (!isUtf8(bytes)) {
    throw new TrainyardError('CONFIG_UNREADABLE', {
      what: `${path} is not UTF-8 text.`,
      where: `${path}:${firstBadLine(bytes)}`,
      cure: 'Save the file as UTF-8.',
    });
  }
  return parseJsonDocument(bytes.toString('utf8'), path);
}

/** What can be read once, or without end. */
function isStream(path: string): boolean {
  const status = statSync(path);
  return !status.isFile() && !status.isDirectory();
}

/**
 * Parses a JSON text in which comments and trailing commas are allowed. `name` is what errors call it.
 *
 * @throws TrainyardError CONFIG_UNREADABLE as `readJsonDocument`, the file's own troubles aside.
 */
export function parseJsonDocument(source: string, name: string): JsonDocument {
  // A byte order mark becomes a space, which JSON allows, so that columns stay true.
  const text = source.startsWith('\uFEFF') ? ` ${source.slice(1)}` : source;
  const positionOf = lineIndex(text);
  const refuse = (
    offset: number,
    report: { what: string; expected?: string; got?: string; cure?: string },
  ) => {
    const { line, column } = positionOf(offset);
    return new TrainyardError('CONFIG_UNREADABLE', { where: `${name}:${line}:${column}`, ...report });
  };

  const tooDeep = firstTooDeep(text);
  if (tooDeep !== undefined) {
    throw refuse(tooDeep, {
      what: `${name} is nested too deeply.`,
      expected: `at most ${DEEPEST_NESTING} levels`,
    });
  }
  const errors: ParseError[] = [];
  const root = parseTree(text, errors, { allowTrailingComma: true });
  const first = errors[0];
  if (first !== undefined || root === undefined) {
    const offset = first?.offset ?? 0;
    throw refuse(offset, {
      what: `${name} is not valid JSON.`,
      expected: first === undefined ? 'a JSON object' : expectedBy(first),
      got: foundAt(text, offset),
    });
  }
  return {
    name,
    value: valueOfNode(root, [], refuse),
    locate: (path, part) => {
      const node = findNodeAtLocation(root, [...path]);
      if (node === undefined) return undefined;
      const place = part === 'key' && node.parent?.type === 'property' ? node.parent : node;
      return positionOf(place.offset);
    },
  };
}

/** No key of ours is longer; one that is nobody wants to read. */
const LONGEST_KEY = 120;

/** The path as people write it: `data.path[0]`. A key without end is cut. */
export function formatPath(path: JsonPath): string {
  return path
    .map((step, index) => {
      if (typeof step === 'number') return `[${step}]`;
      const key = step.length > LONGEST_KEY ? `${step.slice(0, LONGEST_KEY)}…` : step;
      return index === 0 ? key : `.${key}`;
    })
    .join('');
}

/** Whether a value is a JSON object: neither null nor an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

type Refuse = (offset: number, report: { what: string; got?: string; cure?: string }) => TrainyardError;

function valueOfNode(node: Node, path: JsonPath, refuse: Refuse): JsonValue {
  if (node.type === 'array')
    return (node.children ?? []).map((item, index) => valueOfNode(item, [...path, index], refuse));
  if (node.type !== 'object') return node.value as JsonValue;
  const result: Record<string, JsonValue> = {};
  for (const property of node.children ?? []) {
    const [keyNode, valueNode] = property.children ?? [];
    if (keyNode === undefined || valueNode === undefined) continue;
    const key = String(keyNode.value);
    const keyPath = formatPath([...path, key]);
    if (REFUSED_KEYS.includes(key))
      throw refuse(keyNode.offset, { what: `The key ${keyPath} is not allowed.` });
    if (Object.hasOwn(result, key)) {
      throw refuse(keyNode.offset, {
        what: `The key ${keyPath} is given twice.`,
        cure: 'Remove one of the two.',
      });
    }
    result[key] = valueOfNode(valueNode, [...path, key], refuse);
  }
  return result;
}

/** The offset at which nesting first passes the limit. The parser itself recurses, so this comes before it. */
function firstTooDeep(text: string): number | undefined {
  const scanner = createScanner(text, true);
  let depth = 0;
  for (;;) {
    const token = scanner.scan();
    if (token === SyntaxKind.EndOfFile) return undefined;
    if (token === SyntaxKind.OpenBrace || token === SyntaxKind.OpenBracket) depth++;
    if (token === SyntaxKind.CloseBrace || token === SyntaxKind.CloseBracket) depth--;
    if (depth > DEEPEST_NESTING) return scanner.getTokenOffset();
  }
}

/** jsonc-parser's token kinds: a `const enum`, which isolated modules cannot import. */
const SyntaxKind = { OpenBrace: 1, CloseBrace: 2, OpenBracket: 3, CloseBracket: 4, EndOfFile: 17 } as const;

function lineIndex(text: string): (offset: number) => TextPosition {
  const starts = [0];
  for (let end = text.indexOf('\n'); end !== -1; end = text.indexOf('\n', end + 1)) starts.push(end + 1);
  return (offset) => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 };
  };
}

function firstBadLine(bytes: Buffer): number {
  let line = 1;
  for (let start = 0; start < bytes.length; line++) {
    const newline = bytes.indexOf(0x0a, start);
    const end = newline === -1 ? bytes.length : newline + 1;
    if (!isUtf8(bytes.subarray(start, end))) return line;
    start = end;
  }
  return line;
}

function foundAt(text: string, offset: number): string {
  const rest =
    text
      .slice(offset, offset + 40)
      .split('\n')[0]
      ?.trim() ?? '';
  if (offset >= text.trimEnd().length) return 'the end of the file';
  return rest === '' ? 'the end of the line' : rest;
}

function expectedBy(error: ParseError): string {
  const name = printParseErrorCode(error.error);
  return PARSE_ERRORS[name] ?? name;
}

const PARSE_ERRORS: Readonly<Record<string, string>> = {
  InvalidSymbol: 'a JSON value: text in double quotes, a number, true, false, null, [ or {',
  InvalidNumberFormat: 'a number',
  PropertyNameExpected: 'a key in double quotes',
  ValueExpected: 'a value',
  ColonExpected: 'a colon after the key',
  CommaExpected: 'a comma between two entries',
  CloseBraceExpected: 'a closing }',
  CloseBracketExpected: 'a closing ]',
  EndOfFileExpected: 'nothing after the closing }',
  InvalidCommentToken: 'no comment here',
  UnexpectedEndOfComment: 'the end of the comment: */',
  UnexpectedEndOfString: 'the end of the text: "',
  UnexpectedEndOfNumber: 'the rest of a number',
  InvalidUnicode: 'four hexadecimal digits after \\u',
  InvalidEscapeCharacter: 'one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\u',
  InvalidCharacter: 'no control character inside text',
};

function reasonOf(cause: Error): string {
  switch ('code' in cause ? cause.code : undefined) {
    case 'ENOENT':
      return 'no such file';
    case 'EACCES':
      return 'no permission to read it';
    case 'EISDIR':
      return 'a folder';
    default:
      return cause.message;
  }
}
