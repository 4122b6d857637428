import { TrainyardError } from '../../base/errors.js';
import { describeFileError, readSmallFile, withOpenFile } from '../open-file.js';
import { bytesIn, type Refuse, StrictJsonReader } from '../strict-json.js';
import { modelUnreadable } from './folder-file.js';

const MEBIBYTE = 1024 * 1024;
const LARGEST_CONFIG = 16 * MEBIBYTE;
/** Ten thousand shards and a million names fit. */
const LARGEST_INDEX = 100 * MEBIBYTE;
const KEEP_BYTES = 64 * MEBIBYTE;

/**
 * Reads a JSON object of moderate size, such as config.json. Repeated keys are refused: readers differ in
 * which of the two they take.
 *
 * @throws TrainyardError MODEL_UNREADABLE with line and column
 */
export function readJsonObject(path: string): Readonly<Record<string, unknown>> {
  const content = readingFile(path, () => readSmallFile(path, LARGEST_CONFIG));
  const json = new StrictJsonReader(bytesIn(content), KEEP_BYTES, (rule, got) => {
    throw notJson(`${path}:${lineAndColumn(content, json.position)}`, rule, got);
  });
  json.skipWhitespace();
  json.readObject(() => json.skipValue());
  json.readEnd();
  return JSON.parse(new TextDecoder().decode(content)) as Readonly<Record<string, unknown>>;
}

/**
 * Opens a strict reader over a JSON file of any permitted size and gives it to `use`.
 *
 * @throws TrainyardError MODEL_UNREADABLE with the byte where a rule is broken
 */
export function withJsonReader<Result>(
  path: string,
  use: (json: StrictJsonReader, refuse: Refuse) => Result,
): Result {
  const refuse: Refuse = (rule, got) => {
    throw notJson(path, rule, got);
  };
  return readingFile(path, () =>
    withOpenFile(path, (file) => {
      if (file.bytes > LARGEST_INDEX) refuse(`at most ${LARGEST_INDEX} bytes`, `${file.bytes} bytes`);
      let position = 0;
      const source = (window: Uint8Array): number => {
        const count = file.read(window, position);
        position += count;
        return count;
      };
      return use(new StrictJsonReader(source, KEEP_BYTES, refuse), refuse);
    }),
  );
}

function notJson(where: string, rule: string, got: string | undefined): Error {
  const what = 'A file of the model folder is not what it should be.';
  return modelUnreadable(what, where, { expected: rule, ...(got === undefined ? {} : { got }) });
}

function readingFile<Result>(path: string, read: () => Result): Result {
  try {
    return read();
  } catch (error) {
    if (error instanceof TrainyardError) throw error;
    throw modelUnreadable('A file of the model folder cannot be read.', path, {
      got: describeFileError(error),
    });
  }
}

function lineAndColumn(content: Uint8Array, position: number): string {
  const before = content.subarray(0, position);
  const lines = before.reduce((count, byte) => count + (byte === 0x0a ? 1 : 0), 1);
  return `${lines}:${position - before.lastIndexOf(0x0a)}`;
}
