import { closeSync, openSync, readSync } from 'node:fs';
import { TrainyardError } from '../../base/errors.js';
import { describeFileError } from '../../store/open-file.js';
import { decodeUtf8 } from './utf8.js';

const BLOCK_BYTES = 1 << 20;
const NEWLINE = 0x0a;
const CARRIAGE_RETURN = 0x0d;

/** The longest line that is read; a longer one is a file of another kind, or an attack on memory. */
const LONGEST_LINE_BYTES = 16 * 1024 * 1024;

/** One line of a file, without its line end. */
export interface Line {
  readonly text: string;
  /** Counted from 1. */
  readonly number: number;
}

/** Reads a file block by block. Each block is a fresh array. */
export function* readBlocks(file: string): Generator<Buffer> {
  const descriptor = reportingReadErrors(file, () => openSync(file, 'r'));
  try {
    for (;;) {
      const block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
      const read = reportingReadErrors(file, () => readSync(descriptor, block, 0, BLOCK_BYTES, null));
      if (read === 0) return;
      yield block.subarray(0, read);
    }
  } finally {
    closeSync(descriptor);
  }
}

function reportingReadErrors<Result>(file: string, read: () => Result): Result {
  try {
    return read();
  } catch (cause) {
    const report = { what: 'A data file cannot be read.', where: file, got: describeFileError(cause) };
    throw new TrainyardError('DATA_UNREADABLE', report, { cause });
  }
}

/**
 * Streams the lines of a UTF-8 file, blank ones left out, in memory bounded by the longest line.
 *
 * @throws DATA_INVALID for a line past 16 MiB or one that is not UTF-8, with file, line and byte offset.
 */
export function* readLines(file: string): Generator<Line> {
  let carried: Buffer[] = [];
  let carriedBytes = 0;
  let number = 1;
  let offset = 0;

  const finish = (tail: Buffer): Line | undefined => {
    const whole = carried.length === 0 ? tail : Buffer.concat([...carried, tail]);
    const bytes = whole.at(-1) === CARRIAGE_RETURN ? whole.subarray(0, -1) : whole;
    const lineOffset = offset;
    const text = decodeUtf8(
      bytes,
      (wrong) => `${file}:${number}:${wrong + 1} (byte ${lineOffset + wrong} of the file)`,
    );
    return text.trim() === ''
      ? undefined
      : { text: number === 1 ? text.replace(/^\uFEFF/, '') : text, number };
  };

  for (const block of readBlocks(file)) {
    let start = 0;
    for (let end = block.indexOf(NEWLINE); end !== -1; end = block.indexOf(NEWLINE, start)) {
      refuseLongLine(file, number, carriedBytes + end - start);
      const line = finish(block.subarray(start, end));
      if (line !== undefined) yield line;
      offset += carriedBytes + end - start + 1;
      number++;
      start = end + 1;
      carried = [];
      carriedBytes = 0;
    }
    carried.push(block.subarray(start));
    carriedBytes += block.length - start;
    refuseLongLine(file, number, carriedBytes);
  }
  const last = finish(Buffer.alloc(0));
  if (last !== undefined) yield last;
}

function refuseLongLine(file: string, number: number, bytes: number): void {
  if (bytes <= LONGEST_LINE_BYTES) return;
  throw new TrainyardError('DATA_INVALID', {
    what: 'A line is too long.',
    where: `${file}:${number}`,
    expected: `at most ${LONGEST_LINE_BYTES} bytes a line`,
    got: `${bytes} bytes or more`,
    cure: 'Split the document into several lines.',
  });
}
