import { TrainyardError } from '../../base/errors.js';
import type { ChatMessage, Document } from './document.js';

const LARGEST_ID = 2 ** 31 - 1;

/**
 * Makes a document of one `.jsonl` line or `.parquet` row.
 *
 * The row carries `input_ids`, `messages` or the text field; when several are there, the first of that list wins,
 * since it is the most finished form. Other keys are the row's own business.
 *
 * @throws DATA_INVALID, with the row's place and the field, when none is there or it has another type.
 */
export function documentOfRow(row: unknown, place: string, textField: string): Document {
  if (typeof row !== 'object' || row === null || Array.isArray(row)) {
    throw invalid(place, 'a JSON object', describe(row));
  }
  // A Map, because a row may well have a key called __proto__.
  const fields = new Map<string, unknown>(Object.entries(row));
  if (isPresent(fields.get('input_ids'))) {
    return { kind: 'input_ids', place, ids: inputIdsOf(fields.get('input_ids'), place) };
  }
  if (isPresent(fields.get('messages'))) {
    return { kind: 'messages', place, messages: messagesOf(fields.get('messages'), place) };
  }
  const text = fields.get(textField);
  if (typeof text === 'string') return { kind: 'text', place, pieces: [wellFormed(text, place, textField)] };
  if (isPresent(text)) throw invalid(place, `text in ${JSON.stringify(textField)}`, describe(text));
  throw invalid(
    place,
    `one of ${JSON.stringify(textField)}, "messages", "input_ids"`,
    `the keys ${[...fields.keys()].slice(0, 12).join(', ') || '(none)'}`,
  );
}

function isPresent(value: unknown): boolean {
  return value !== undefined && value !== null;
}

function inputIdsOf(value: unknown, place: string): readonly number[] {
  if (!Array.isArray(value) && !ArrayBuffer.isView(value)) {
    throw invalid(place, 'a list of token ids in "input_ids"', describe(value));
  }
  // Parquet hands over 64-bit columns as BigInt.
  const ids = Array.from(value as ArrayLike<unknown>, (id) => (typeof id === 'bigint' ? Number(id) : id));
  if (ids.length < 2) throw invalid(place, 'at least two ids: an input and its target', `${ids.length}`);
  ids.forEach((id, position) => {
    if (typeof id !== 'number' || !Number.isInteger(id) || id < 0 || id > LARGEST_ID) {
      throw invalid(place, 'integers from 0 up in "input_ids"', `${describe(id)} at position ${position}`);
    }
  });
  return ids as number[];
}

function messagesOf(value: unknown, place: string): readonly ChatMessage[] {
  if (!Array.isArray(value) || value.length === 0) {
    throw invalid(place, 'a list of at least one message in "messages"', describe(value));
  }
  value.forEach((message: unknown, position) => {
    const role =
      typeof message === 'object' && message !== null && 'role' in message ? message.role : undefined;
    if (typeof role !== 'string') {
      throw invalid(
        place,
        'messages of the form {"role": text, "content": …}',
        `${describe(message)} at ${position}`,
      );
    }
  });
  return value as ChatMessage[];
}

/** JSON can spell half of a surrogate pair, which no UTF-8 text has and no tokenizer maps back. */
function wellFormed(text: string, place: string, field: string): string {
  if (!/\p{Surrogate}/u.test(text)) return text;
  throw invalid(
    place,
    `Unicode text in ${JSON.stringify(field)}`,
    'half a surrogate pair (\\ud800 to \\udfff)',
  );
}

function describe(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  if (typeof value === 'object') return value === null ? 'null' : 'an object';
  const text = typeof value === 'string' ? JSON.stringify(value.slice(0, 60)) : String(value);
  return `${text} (${typeof value})`;
}

function invalid(where: string, expected: string, got: string): TrainyardError {
  return new TrainyardError('DATA_INVALID', {
    what: 'A row of the data is malformed.',
    where,
    expected,
    got,
    cure: 'Mend or remove the row; data.text_field names another field for the text.',
  });
}
