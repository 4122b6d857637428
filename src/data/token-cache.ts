import { createHash } from 'node:crypto';
import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TrainyardError } from '../base/errors.js';
import { replaceFile, temporaryName } from '../store/durable.js';
import { nodeFileSystem } from '../store/file-system.js';
import { BuildLock } from './build-lock.js';
import { fileFormat, readDocuments } from './source/read-documents.js';
import { readBlocks } from './source/read-lines.js';
import { readTokenFile, writeTokenFile } from './token-file.js';
import type { TokenStore } from './token-store.js';
import { tokenizeDocuments } from './tokenize-documents.js';
import type { Tokenizer } from './tokenizer.js';
import { writingCache } from './writing-cache.js';

/** Goes into every key: raise it when the same input would give other ids or another file. */
const FORMAT = 1;

/** A corpus and what makes ids of it. */
export interface Corpus {
  readonly files: readonly string[];
  readonly textField: string;
  readonly tokenizer: Tokenizer | undefined;
}

/** A corpus as the cache has it. */
export interface CachedTokens extends TokenStore {
  /** A digest of everything that the ids depend on. */
  readonly key: string;
}

/**
 * The tokenized corpus: mapped from the cache folder, and made there first if need be.
 *
 * The key is a digest of the files' contents, the tokenizer and the options, so nothing stale is ever found; a
 * damaged entry is made again. Several processes may ask at once: one builds, the others wait for it, and one
 * whose builder died takes over. Entries appear by renaming, the description last, so none is seen half made.
 *
 * @throws DATA_UNREADABLE, DATA_INVALID or TOKENIZER_INVALID from reading; OUTPUT_UNWRITABLE for the folder.
 */
export async function openTokenCache(corpus: Corpus, directory: string): Promise<CachedTokens> {
  const key = corpusKey(corpus);
  const base = join(directory, key);
  const lock = new BuildLock(`${base}.lock`);
  for (;;) {
    const found = readTokenFile(`${base}.bin`, `${base}.json`);
    if (found !== undefined) return { ...found, key };
    writingCache(directory, () => nodeFileSystem.makeDirectory(directory));
    if (!writingCache(directory, () => lock.tryAcquire())) {
      await lock.waitForChange();
      continue;
    }
    try {
      // The builder that held the lock until a moment ago may have finished.
      if (readTokenFile(`${base}.bin`, `${base}.json`) === undefined) await build(corpus, base, lock);
    } finally {
      lock.release();
    }
  }
}

async function build(corpus: Corpus, base: string, lock: BuildLock): Promise<void> {
  const { files, textField, tokenizer } = corpus;
  const temporary = temporaryName(`${base}.bin`);
  try {
    const pieces = tokenizeDocuments(readDocuments(files, textField), tokenizer);
    const description = await writeTokenFile(temporary, pieces, tokenizer?.vocabularySize ?? 0, () =>
      lock.refresh(),
    );
    if (description.documents === 0) throw nothingToRead(files);
    const text = `${JSON.stringify(description, null, 2)}\n`;
    writingCache(base, () => {
      renameSync(temporary, `${base}.bin`);
      replaceFile(nodeFileSystem, `${base}.json`, (file) => nodeFileSystem.write(file, Buffer.from(text)));
    });
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** A digest of everything that the ids depend on. */
function corpusKey({ files, textField, tokenizer }: Corpus): string {
  const key = {
    format: FORMAT,
    tokenizer: tokenizer?.identity ?? 'none',
    chatTemplate: tokenizer?.chatTemplate ?? '',
    templateVariables: tokenizer?.templateVariables ?? {},
    textField,
    files: files.map((file) => [fileFormat(file), sha256OfFile(file)]),
  };
  return createHash('sha256').update(JSON.stringify(key)).digest('hex').slice(0, 32);
}

function sha256OfFile(file: string): string {
  const hash = createHash('sha256');
  for (const block of readBlocks(file)) hash.update(block);
  return hash.digest('hex');
}

function nothingToRead(files: readonly string[]): TrainyardError {
  return new TrainyardError('DATA_INVALID', {
    what: 'The data holds no text.',
    where: files.length === 1 ? (files[0] ?? '') : `${files.length} files, ${files[0]} and others`,
    expected: 'at least one document that is not empty',
  });
}
