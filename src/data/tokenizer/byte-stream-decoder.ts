import type { StreamDecoder } from '../tokenizer.js';

/**
 * A stream decoder for tokenizers whose tokens are byte strings.
 *
 * @param bytesOf a token's bytes; none for a token that is not to be shown.
 */
export function byteStreamDecoder(bytesOf: (id: number) => Uint8Array): StreamDecoder {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  return {
    push: (id) => decoder.decode(bytesOf(id), { stream: true }),
    end: () => decoder.decode(),
  };
}
