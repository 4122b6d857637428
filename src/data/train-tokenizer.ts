import { join } from 'node:path';
import { replaceFile, reportingWriteErrors } from '../store/durable.js';
import { nodeFileSystem } from '../store/file-system.js';
import { listFiles } from './source/list-files.js';
import { readDocuments } from './source/read-documents.js';
import { countWords } from './tokenizer/count-words.js';
import type { ByteLevelVocabulary } from './tokenizer/tokenizer-files.js';
import { type BpeTraining, trainByteLevelBpe } from './tokenizer/train-byte-level-bpe.js';

/** What `trainyard tokenizer train` is asked for. */
export interface TokenizerTraining extends BpeTraining {
  /** Files, folders and patterns, as in `data.path`. */
  readonly paths: readonly string[];
  readonly baseDirectory: string;
  /** The field or column that holds the text of `.jsonl` and `.parquet` rows. */
  readonly textField: string;
}

/** The special token that a trained tokenizer ends documents with. */
export const DEFAULT_SPECIAL_TOKENS: readonly string[] = ['<|endoftext|>'];

/**
 * Learns a byte-level BPE vocabulary from text.
 *
 * @throws DATA_UNREADABLE or DATA_INVALID from reading; USAGE when the vocabulary is too small.
 */
export async function trainTokenizer(training: TokenizerTraining): Promise<ByteLevelVocabulary> {
  const files = listFiles(training.paths, training.baseDirectory);
  const words = await countWords(readDocuments(files, training.textField));
  return trainByteLevelBpe(words, training);
}

/**
 * Writes a tokenizer's files into a folder: a trained one's, or those of the tokenizer a model was trained with.
 *
 * @throws OUTPUT_UNWRITABLE.
 */
export function writeTokenizerFiles(files: ReadonlyMap<string, string>, directory: string): void {
  reportingWriteErrors('The tokenizer', directory, () => {
    for (const [name, text] of files) {
      replaceFile(nodeFileSystem, join(directory, name), (file) =>
        nodeFileSystem.write(file, Buffer.from(text)),
      );
    }
  });
}
