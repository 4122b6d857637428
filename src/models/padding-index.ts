import type { ConfigReader } from './config-fields.js';

/**
 * The token whose row of the input embedding is never trained: `pad_token_id`, which transformers hands to the
 * embedding of the architectures that use this. Negative numbers count from the end, as there.
 */
export function readPaddingIndex(reader: ConfigReader, vocabularySize: number): number | undefined {
  const index = reader.optionalInteger('pad_token_id', -vocabularySize);
  if (index === undefined) return undefined;
  if (index >= vocabularySize) {
    throw reader.invalid('pad_token_id', `less than vocab_size, which is ${vocabularySize}`);
  }
  return index < 0 ? index + vocabularySize : index;
}
