import { closeSync, openSync, readSync, statSync } from 'node:fs';
import type { AsyncBuffer, FileMetaData } from 'hyparquet';
import { parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { TrainyardError } from '../../base/errors.js';
import type { Document } from './document.js';
import { documentOfRow } from './document-of-row.js';

/** A row group is decoded at once, so its stated size bounds the memory; files in the wild stay far below. */
const LARGEST_ROW_GROUP_BYTES = 4 * 1024 ** 3;

/**
 * Streams the documents of a `.parquet` file, one a row, row group by row group.
 *
 * Only the columns `input_ids`, `messages` and the text field are read.
 *
 * @throws DATA_INVALID naming the file, and the row where a row is at fault.
 */
export async function* readParquet(path: string, textField: string): AsyncGenerator<Document> {
  const descriptor = openSync(path, 'r');
  try {
    const file = bufferOf(descriptor, statSync(path).size);
    const metadata = await decoding(path, () => parquetMetadataAsync(file));
    const columns = wantedColumns(path, metadata, textField);
    // The library's own decoder would turn wrong bytes into replacement characters.
    const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
    const parsers = { stringFromBytes: (bytes: Uint8Array): string => strict.decode(bytes) };
    let rowStart = 0;
    for (const group of metadata.row_groups) {
      if (group.total_byte_size > LARGEST_ROW_GROUP_BYTES) {
        throw invalid(
          path,
          `row groups of at most ${LARGEST_ROW_GROUP_BYTES} bytes`,
          `${group.total_byte_size}`,
        );
      }
      const rowEnd = rowStart + Number(group.num_rows);
      const options = { file, metadata, columns, rowStart, rowEnd, compressors, parsers };
      const rows = await decoding(path, () => parquetReadObjects(options));
      for (const [index, row] of rows.entries()) {
        yield documentOfRow(row, `${path} row ${rowStart + index + 1}`, textField);
      }
      rowStart = rowEnd;
    }
  } finally {
    closeSync(descriptor);
  }
}

function wantedColumns(path: string, metadata: FileMetaData, textField: string): string[] {
  const [root, ...elements] = metadata.schema;
  const topLevel: string[] = [];
  // The schema is a tree in depth-first order; skip each element's subtree to see the top level alone.
  for (let at = 0; at < elements.length && topLevel.length < (root?.num_children ?? 0); ) {
    topLevel.push(elements[at]?.name ?? '');
    for (let open = 1; open > 0; at++) open += (elements[at]?.num_children ?? 0) - 1;
  }
  const wanted = topLevel.filter((name) => ['input_ids', 'messages', textField].includes(name));
  if (wanted.length > 0) return wanted;
  throw invalid(path, `a column ${textField}, messages or input_ids`, `the columns ${topLevel.join(', ')}`);
}

function bufferOf(descriptor: number, byteLength: number): AsyncBuffer {
  return {
    byteLength,
    slice(start, end = byteLength) {
      const bytes = new Uint8Array(Math.max(0, Math.min(end, byteLength) - start));
      let filled = 0;
      while (filled < bytes.length) {
        const read = readSync(descriptor, bytes, filled, bytes.length - filled, start + filled);
        if (read === 0) throw new Error('the file ended early');
        filled += read;
      }
      return bytes.buffer;
    },
  };
}

async function decoding<Value>(path: string, decode: () => Promise<Value>): Promise<Value> {
  try {
    return await decode();
  } catch (error) {
    throw invalid(
      path,
      'a readable Parquet file',
      error instanceof Error ? error.message : String(error),
      error,
    );
  }
}

function invalid(where: string, expected: string, got: string, cause?: unknown): TrainyardError {
  return new TrainyardError(
    'DATA_INVALID',
    { what: 'A Parquet file cannot be used.', where, expected, got },
    { cause },
  );
}
