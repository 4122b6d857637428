import type { StreamDecoder, Tokenizer } from '../tokenizer.js';
import { BYTE_CHARACTERS } from './byte-alphabet.js';
import { byteStreamDecoder } from './byte-stream-decoder.js';
import { tokenizerFiles } from './tokenizer-files.js';

/** The byte that ends a document. No text file holds it, so that the vocabulary stays at 256. */
const END_OF_TEXT = 0;

/**
 * The tokenizer called `bytes`: an id is a byte of the UTF-8 text, and 0 ends a document.
 *
 * For Hugging Face it is a byte-level BPE without merges whose entries stand in the order of the bytes.
 */
export class ByteTokenizer implements Tokenizer {
  readonly identity = 'bytes:1';
  readonly vocabularySize = 256;
  readonly special = { end: END_OF_TEXT, padding: END_OF_TEXT };
  readonly chatTemplate = undefined;
  readonly templateVariables = {};

  get files(): ReadonlyMap<string, string> {
    return tokenizerFiles({
      vocabulary: BYTE_CHARACTERS,
      merges: [],
      specialTokens: [],
      endToken: undefined,
    });
  }

  encode(text: string): Int32Array {
    return Int32Array.from(Buffer.from(text, 'utf8'));
  }

  decode(ids: ArrayLike<number>, options: { readonly keepSpecialTokens?: boolean } = {}): string {
    const bytes = Uint8Array.from(ids);
    const shown = options.keepSpecialTokens === true ? bytes : bytes.filter((byte) => byte !== END_OF_TEXT);
    return new TextDecoder('utf-8', { ignoreBOM: true }).decode(shown);
  }

  streamDecoder(): StreamDecoder {
    return byteStreamDecoder((id) => (id === END_OF_TEXT ? new Uint8Array(0) : Uint8Array.of(id)));
  }
}
