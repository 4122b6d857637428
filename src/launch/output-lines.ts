import { StringDecoder } from 'node:string_decoder';

const LONGEST_LINE = 4096;

/**
 * Cuts what a process prints into lines that a terminal can show: escape sequences and control characters
 * removed, bytes that are no UTF-8 replaced, endless lines cut, a line redrawn with carriage returns in its
 * last state only.
 */
export class OutputLines {
  readonly #decoder = new StringDecoder('utf8');
  #pending = '';

  /** Takes the next bytes; returns the lines that they complete. */
  push(bytes: Buffer): readonly string[] {
    const pieces = (this.#pending + this.#decoder.write(bytes)).split('\n');
    this.#pending = pieces.pop() ?? '';
    const lines = pieces.flatMap(shownLines);
    if (this.#pending.length <= LONGEST_LINE) return lines;
    const cut = this.#pending;
    this.#pending = '';
    return [...lines, ...shownLines(cut)];
  }

  /** The last line, where it has no newline. */
  end(): readonly string[] {
    const rest = this.#pending + this.#decoder.end();
    this.#pending = '';
    return rest === '' ? [] : shownLines(rest);
  }
}

/** What remains visible of a line, in pieces of at most 4,096 characters. */
function shownLines(raw: string): readonly string[] {
  const line = withoutControls(raw.slice(raw.trimEnd().lastIndexOf('\r') + 1));
  if (line.length <= LONGEST_LINE) return [line];
  const pieces = Math.ceil(line.length / LONGEST_LINE);
  return Array.from({ length: pieces }, (_, piece) =>
    line.slice(piece * LONGEST_LINE, (piece + 1) * LONGEST_LINE),
  );
}

// Operating-system commands (titles, links), then colours and cursor movements, then two-letter escapes.
const ESCAPE_SEQUENCES =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not reach a terminal
  /(?:\u001b\]|\u009d)[^\u0007\u001b\u009c]*(?:\u0007|\u001b\\|\u009c)?|(?:\u001b\[|\u009b)[0-?]*[ -/]*[@-~]?|\u001b[ -/]*[0-~]?/g;
const CONTROLS = /[^\P{Cc}\t]|[\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

/** Text without anything that steers a terminal; tabs stay. */
export function withoutControls(text: string): string {
  return text.replaceAll(ESCAPE_SEQUENCES, '').replaceAll(CONTROLS, '');
}
