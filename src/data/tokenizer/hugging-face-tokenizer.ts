import { Tokenizer as HuggingFace } from '@huggingface/tokenizers';
import { TrainyardError } from '../../base/errors.js';
import { splitText } from '../source/split-text.js';
import type { SpecialTokenIds, StreamDecoder, Tokenizer } from '../tokenizer.js';
import { createDeadline, type RunWithDeadline } from './deadline.js';
import type { TokenizerJson } from './tokenizer-json.js';
import type { TokenizerSetting } from './tokenizer-setting.js';

/** Text is encoded in pieces of about this many characters, each under the deadline: half a second's work. */
const PIECE_LENGTH = 1 << 16;

const DEADLINE_MILLISECONDS = 30_000;

/** U+FFFD, by which a decoder shows that the ids so far end inside a character. */
const REPLACEMENT = '\uFFFD';

/** Any tokenizer that `@huggingface/tokenizers` can run: about 0.8 MB of text a second. */
export class HuggingFaceTokenizer implements Tokenizer {
  readonly identity: string;
  readonly vocabularySize: number;
  readonly special: SpecialTokenIds;
  readonly chatTemplate: string | undefined;
  readonly templateVariables: Readonly<Record<string, string>>;
  readonly files: ReadonlyMap<string, string>;

  readonly #inner: HuggingFace;
  readonly #path: string;
  readonly #deadline: RunWithDeadline = createDeadline(DEADLINE_MILLISECONDS);

  /** @throws TOKENIZER_INVALID when the library refuses the file. */
  constructor(json: TokenizerJson, config: object, setting: TokenizerSetting, path: string) {
    this.identity = setting.identity;
    this.vocabularySize = setting.vocabularySize;
    this.special = setting.special;
    this.chatTemplate = setting.chatTemplate;
    this.templateVariables = setting.templateVariables;
    this.files = setting.files;
    this.#path = path;
    this.#inner = this.#guarded(() => new HuggingFace(json, config));
  }

  encode(text: string, options: { readonly addSpecialTokens?: boolean } = {}): Int32Array {
    // What goes around a text goes around the whole of it, so that a prompt is not cut.
    const pieces = options.addSpecialTokens === true ? [text] : splitText([text], PIECE_LENGTH);
    const ids: number[] = [];
    for (const piece of pieces) {
      const add = options.addSpecialTokens === true;
      for (const id of this.#guarded(() => this.#inner.encode(piece, { add_special_tokens: add }).ids))
        ids.push(id);
    }
    return Int32Array.from(ids);
  }

  decode(ids: ArrayLike<number>, options: { readonly keepSpecialTokens?: boolean } = {}): string {
    const shown = Array.from(ids).filter((id) => id < this.vocabularySize);
    const skip = options.keepSpecialTokens !== true;
    // The library refuses an empty list.
    if (shown.length === 0) return '';
    return this.#guarded(() =>
      this.#inner.decode(shown, { skip_special_tokens: skip, clean_up_tokenization_spaces: false }),
    );
  }

  /**
   * Decodes the ids since the last finished text twice, without and with the newest, and shows the difference:
   * what an id looks like may depend on the one before it (a leading space, a character in several tokens).
   */
  streamDecoder(): StreamDecoder {
    let context: number[] = [];
    let fresh: number[] = [];
    const advance = (final: boolean): string => {
      const before = this.decode(context);
      const now = this.decode([...context, ...fresh]);
      if (!final && (now.length <= before.length || now.endsWith(REPLACEMENT))) return '';
      context = fresh;
      fresh = [];
      return now.slice(before.length);
    };
    return {
      push: (id) => {
        fresh.push(id);
        return advance(false);
      },
      end: () => (fresh.length === 0 ? '' : advance(true)),
    };
  }

  #guarded<Result>(task: () => Result): Result {
    try {
      return this.#deadline(task);
    } catch (error) {
      // What the library did not think of, nobody else would understand.
      const isExpected = error instanceof Error && !(error instanceof TypeError);
      throw new TrainyardError(
        'TOKENIZER_INVALID',
        {
          what: 'The tokenizer does not work.',
          where: this.#path,
          got: isExpected ? error.message : 'components that @huggingface/tokenizers cannot run',
        },
        { cause: error },
      );
    }
  }
}
