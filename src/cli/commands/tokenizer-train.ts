import { printable } from '../../base/printable.js';
import { tokenizerFiles } from '../../data/tokenizer/tokenizer-files.js';
import { DEFAULT_SPECIAL_TOKENS, trainTokenizer, writeTokenizerFiles } from '../../data/train-tokenizer.js';
import { formatDuration } from '../format.js';

export interface TokenizerTrainOptions {
  readonly output: string;
  readonly vocabularySize: number;
  readonly minimumFrequency: number;
  readonly specialToken?: readonly string[];
  readonly textField: string;
}

/** Learns a byte-level BPE from text and writes it in Hugging Face's form. */
export async function tokenizerTrain(
  paths: readonly string[],
  options: TokenizerTrainOptions,
): Promise<void> {
  const start = performance.now();
  const vocabulary = await trainTokenizer({
    paths,
    baseDirectory: process.cwd(),
    textField: options.textField,
    vocabularySize: options.vocabularySize,
    minimumFrequency: options.minimumFrequency,
    specialTokens: options.specialToken ?? DEFAULT_SPECIAL_TOKENS,
  });
  writeTokenizerFiles(tokenizerFiles(vocabulary), options.output);
  const seconds = formatDuration((performance.now() - start) / 1000);
  process.stderr.write(
    `${vocabulary.vocabulary.length} entries in ${seconds}, written to ${printable(options.output)}\n`,
  );
}
