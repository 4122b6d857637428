import { readBlocks } from './read-lines.js';
import { splitText } from './split-text.js';
import { decodeUtf8, incompleteSuffixLength } from './utf8.js';

/**
 * Streams a UTF-8 file as pieces of text, a leading byte order mark left out.
 *
 * @throws DATA_INVALID at the first byte that is not UTF-8, with line, column (in bytes) and offset.
 */
export function readText(file: string): Iterable<string> {
  return splitText(decodeBlocks(file));
}

function* decodeBlocks(file: string): Generator<string> {
  let carried: Uint8Array = new Uint8Array(0);
  let offset = 0;
  for (const block of readBlocks(file)) {
    const bytes: Buffer = carried.length === 0 ? block : Buffer.concat([carried, block]);
    const start = offset;
    const end = bytes.length - incompleteSuffixLength(bytes);
    const text = decodeUtf8(bytes.subarray(0, end), (wrong) => placeOf(file, start + wrong));
    yield start === 0 ? text.replace(/^\uFEFF/, '') : text;
    offset += end;
    carried = bytes.subarray(end);
  }
  if (carried.length > 0) decodeUtf8(carried, (wrong) => placeOf(file, offset + wrong));
}

/** Line and column of a byte, by reading the file once more: only errors pay for it. */
function placeOf(file: string, offset: number): string {
  let line = 1;
  let lineStart = 0;
  let blockStart = 0;
  for (const block of readBlocks(file)) {
    for (
      let at = block.indexOf(0x0a);
      at !== -1 && blockStart + at < offset;
      at = block.indexOf(0x0a, at + 1)
    ) {
      line++;
      lineStart = blockStart + at + 1;
    }
    blockStart += block.length;
    if (blockStart > offset) break;
  }
  return `${file}:${line}:${offset - lineStart + 1} (byte ${offset} of the file)`;
}
