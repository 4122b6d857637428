import { extname } from 'node:path';
import type { Document } from './document.js';
import { readJsonl } from './read-jsonl.js';
import { readParquet } from './read-parquet.js';
import { readText } from './read-text.js';

/** What the extension of a file says about its contents. Everything that is not known is text: one document. */
export type FileFormat = 'text' | 'jsonl' | 'parquet';

/** The format by which a file is read. */
export function fileFormat(file: string): FileFormat {
  switch (extname(file).toLowerCase()) {
    case '.jsonl':
    case '.ndjson':
      return 'jsonl';
    case '.parquet':
      return 'parquet';
    default:
      return 'text';
  }
}

/**
 * Streams the documents of the files, in order.
 *
 * @param textField the field or column that holds the text of `.jsonl` and `.parquet` rows.
 * @throws DATA_UNREADABLE or DATA_INVALID with the place.
 */
export async function* readDocuments(files: readonly string[], textField: string): AsyncGenerator<Document> {
  for (const file of files) {
    const format = fileFormat(file);
    switch (format) {
      case 'text':
        yield { kind: 'text', place: file, pieces: readText(file) };
        break;
      case 'jsonl':
        yield* readJsonl(file, textField);
        break;
      case 'parquet':
        yield* readParquet(file, textField);
        break;
      default:
        format satisfies never;
    }
  }
}
