import { closeSync, openSync, readSync, statSync } from 'node:fs';
import type { AsyncBuffer, FileMetaData, SchemaTree } from 'hyparquet';
import { parquetMetadataAsync, parquetReadObjects, parquetSchema } from 'hyparquet';
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
    const schema = await decoding(path, async () => parquetSchema(metadata));
    refuseOtherColumns(path, metadata, schema);
    const columns = wantedColumns(path, schema, textField);
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

function wantedColumns(path: string, schema: SchemaTree, textField: string): string[] {
  const topLevel = schema.children.map(({ element }) => element.name);
  const wanted = topLevel.filter((name) => ['input_ids', 'messages', textField].includes(name));
  if (wanted.length > 0) return wanted;
  throw invalid(path, `a column ${textField}, messages or input_ids`, `the columns ${topLevel.join(', ')}`);
}

/**
 * Every row group must hold each leaf of the schema once. The library begins to read the columns before it sees
 * that one is amiss, and the failures of those would then reach nobody.
 */
function refuseOtherColumns(path: string, metadata: FileMetaData, schema: SchemaTree): void {
  const expected = leavesOf(schema).sort().join(', ');
  for (const group of metadata.row_groups) {
    const leaves = group.columns.map(({ meta_data }) => meta_data?.path_in_schema.join('.') ?? '(none)');
    if (leaves.sort().join(', ') !== expected)
      throw invalid(path, `row groups of ${expected}`, leaves.join(', '));
  }
}

function leavesOf(node: SchemaTree): string[] {
  return node.children.length === 0 ? [node.path.join('.')] : node.children.flatMap(leavesOf);
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
