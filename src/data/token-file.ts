import { createHash } from 'node:crypto';
import { closeSync, openSync, statSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { mapFile } from '../store/map-file.js';
import { readSmallFile, UnusableFile } from '../store/open-file.js';
import type { TokenStore } from './token-store.js';
import type { TokenizedPiece } from './tokenize-documents.js';
import { writingCache } from './writing-cache.js';

/*
 * A tokenized corpus on disk is two files. `<key>.bin` is for mapping: the ids, little-endian, end to end, then
 * zeros up to a multiple of 8 bytes, then one float64 for each document, the offset (in ids) of its end.
 * `<key>.json` is the description below; without it the `.bin` counts for nothing.
 */

const FLUSH_BYTES = 1 << 20;
const HASHED_AT_ONCE = 1 << 28;

const descriptionSchema = z.strictObject({
  kind: z.enum(['text', 'messages', 'input_ids']),
  dtype: z.enum(['uint16', 'uint32']),
  tokens: z.int().nonnegative(),
  documents: z.int().nonnegative(),
  largest_id: z.int().nonnegative(),
  largest_id_place: z.string(),
  /** Of everything above and of the `.bin`. */
  sha256: z.string(),
});

/** What the `.json` beside a `.bin` says. */
type TokenFileDescription = Readonly<z.output<typeof descriptionSchema>>;

/**
 * Writes the `.bin` of tokenized documents and describes it.
 *
 * @param vocabularySize one more than the largest id of the tokenizer; up to 65,536 an id takes two bytes. Ready
 *   ids owe nothing to the tokenizer and take four.
 * @param onProgress called often, with nothing: for keeping a lock fresh.
 */
export async function writeTokenFile(
  path: string,
  pieces: AsyncIterable<TokenizedPiece>,
  vocabularySize: number,
  onProgress: () => void,
): Promise<TokenFileDescription> {
  const sink = new HashingSink(path);
  try {
    const ends: number[] = [];
    let kind: TokenFileDescription['kind'] = 'text';
    let width: 2 | 4 = 4;
    let tokens = 0;
    let previousEnd = 0;
    let largest = 0;
    let largestPlace = '';
    for await (const piece of pieces) {
      kind = piece.kind;
      width = kind !== 'input_ids' && vocabularySize <= 2 ** 16 ? 2 : 4;
      const ids = width === 2 ? new Uint16Array(piece.ids) : new Uint32Array(piece.ids);
      sink.write(new Uint8Array(ids.buffer));
      tokens += ids.length;
      for (const id of ids) {
        if (id <= largest && largestPlace !== '') continue;
        largest = id;
        largestPlace = piece.place;
      }
      if (piece.last && tokens > previousEnd) {
        ends.push(tokens);
        previousEnd = tokens;
      }
      onProgress();
    }
    sink.write(new Uint8Array(paddingAfter(tokens * width)));
    sink.write(new Uint8Array(Float64Array.from(ends).buffer));
    const contents: Contents = {
      kind,
      dtype: width === 2 ? 'uint16' : 'uint32',
      tokens,
      documents: ends.length,
      largest_id: largest,
      largest_id_place: largestPlace,
    };
    return { ...contents, sha256: seal(contents, sink.finish()) };
  } finally {
    sink.close();
  }
}

/**
 * Maps a tokenized corpus, after checking that it is what its description says.
 *
 * @returns `undefined` when a file is missing, torn or changed: then it has to be made again.
 */
export function readTokenFile(binPath: string, descriptionPath: string): TokenStore | undefined {
  const description = readDescription(descriptionPath);
  if (description === undefined) return undefined;
  const { dtype, tokens, documents } = description;
  const width = dtype === 'uint16' ? 2 : 4;
  const endsOffset = tokens * width + paddingAfter(tokens * width);
  if (statSync(binPath, { throwIfNoEntry: false })?.size !== endsOffset + documents * 8) return undefined;
  const bytes = mapFile(binPath);
  if (seal(description, sha256Of(bytes)) !== description.sha256) return undefined;
  return {
    ids: width === 2 ? new Uint16Array(bytes, 0, tokens) : new Uint32Array(bytes, 0, tokens),
    documentEnds: new Float64Array(bytes, endsOffset, documents),
    kind: description.kind,
    largestId: description.largest_id,
    largestIdPlace: description.largest_id_place,
  };
}

function readDescription(path: string): TokenFileDescription | undefined {
  try {
    const text = Buffer.from(readSmallFile(path, FLUSH_BYTES)).toString('utf8');
    return descriptionSchema.safeParse(JSON.parse(text)).data;
  } catch (error) {
    if (error instanceof UnusableFile || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

type Contents = Omit<TokenFileDescription, 'sha256'>;

/** One digest over the description and the bytes, so that neither can change alone. */
function seal(contents: Contents, bytesDigest: string): string {
  const { kind, dtype, tokens, documents, largest_id, largest_id_place } = contents;
  const sealed = [kind, dtype, tokens, documents, largest_id, largest_id_place, bytesDigest];
  return createHash('sha256').update(JSON.stringify(sealed)).digest('hex');
}

function paddingAfter(bytes: number): number {
  return (8 - (bytes % 8)) % 8;
}

function sha256Of(bytes: ArrayBuffer): string {
  const hash = createHash('sha256');
  for (let start = 0; start < bytes.byteLength; start += HASHED_AT_ONCE) {
    hash.update(new Uint8Array(bytes, start, Math.min(HASHED_AT_ONCE, bytes.byteLength - start)));
  }
  return hash.digest('hex');
}

/** Appends to a new file in large writes, hashing on the way. */
class HashingSink {
  readonly #path: string;
  readonly #descriptor: number;
  readonly #hash = createHash('sha256');
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;

  constructor(path: string) {
    this.#path = path;
    this.#descriptor = writingCache(path, () => openSync(path, 'wx'));
  }

  write(bytes: Uint8Array): void {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes >= FLUSH_BYTES) this.#flush();
  }

  /** Writes what is left and returns the digest of everything. */
  finish(): string {
    this.#flush();
    return this.#hash.digest('hex');
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #flush(): void {
    const bytes = Buffer.concat(this.#waiting, this.#waitingBytes);
    this.#hash.update(bytes);
    writingCache(this.#path, () => {
      for (let done = 0; done < bytes.length; ) done += writeSync(this.#descriptor, bytes, done);
    });
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}
