import { TrainyardError } from '../../base/errors.js';
import type { Document } from './document.js';
import { documentOfRow } from './document-of-row.js';
import { readLines } from './read-lines.js';

/**
 * Streams the documents of a `.jsonl` file, one a line; blank lines are skipped.
 *
 * @throws DATA_INVALID naming file and line.
 */
export function* readJsonl(file: string, textField: string): Generator<Document> {
  for (const line of readLines(file)) {
    const place = `${file}:${line.number}`;
    yield documentOfRow(parseLine(line.text, place), place, textField);
  }
}

function parseLine(text: string, place: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TrainyardError(
      'DATA_INVALID',
      {
        what: 'A line is not JSON.',
        where: place,
        expected: 'one JSON object a line',
        got: error instanceof Error ? error.message : String(error),
        cure: 'Mend or remove the line.',
      },
      { cause: error },
    );
  }
}
