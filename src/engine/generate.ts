import { TrainyardError } from '../base/errors.js';
import { hasTokenizer, loadTokenizer } from '../data/tokenizer/load-tokenizer.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { Continuation } from '../models/continuation.js';
import { planFlatLayout } from '../nn/flat-layout.js';
import { FlatParameters } from '../nn/flat-parameters.js';
import { scope } from '../tensor/tensor.js';
import { loadParameters } from './fill-parameters.js';
import { openModel } from './model-source.js';
import { sampleToken, uniformNumbers } from './sample-token.js';

export interface GenerateOptions {
  /** A Hugging Face folder with a tokenizer. */
  readonly modelPath: string;
  readonly prompt: string;
  /** The most tokens to write. Default 128. */
  readonly maximumTokens?: number;
  /** 0 always takes the likeliest token. Default 0.8. */
  readonly temperature?: number;
  /** Start of the random choices. Default 0. */
  readonly seed?: number;
}

/** How far a model looks back that has no longest sequence of its own. */
const DEFAULT_CAPACITY = 4096;

/**
 * Continues a prompt with the model of a Hugging Face folder, piece by piece as the text is made. Ends with the
 * tokenizer's end token or after `maximumTokens`.
 *
 * @throws TrainyardError MODEL_UNREADABLE, MODEL_UNSUPPORTED, TOKENIZER_INVALID.
 */
export function* generateText(options: GenerateOptions): Generator<string, void, void> {
  const { model, folder } = openModel(options.modelPath);
  if (folder === undefined || !hasTokenizer(folder.path)) throw noTokenizer(options.modelPath);
  const tokenizer = loadTokenizer(folder.path, process.cwd());
  refuseUnfit(tokenizer, model.vocabularySize, options.modelPath);
  const parameters = new FlatParameters(planFlatLayout(model.blocks), {
    dtype: 'float32',
    device: 'cpu',
    gradients: false,
  });
  const continuation = new Continuation(model, parameters.blocks, {
    device: 'cpu',
    capacity: model.maximumLength ?? DEFAULT_CAPACITY,
  });
  try {
    loadParameters(folder, model, (name, source) =>
      scope(() => source(parameters.owner(name).value.view([-1]), 0)),
    );
    yield* continueText(continuation, tokenizer, options);
  } finally {
    continuation.dispose();
    parameters.dispose();
    model.dispose?.();
  }
}

function* continueText(
  continuation: Continuation,
  tokenizer: Tokenizer,
  { prompt, maximumTokens = 128, temperature = 0.8, seed = 0 }: GenerateOptions,
): Generator<string, void, void> {
  const random = uniformNumbers(seed);
  const decoder = tokenizer.streamDecoder();
  const { text, held } = holdTrailingSpace(prompt);
  let unread: readonly number[] = [...tokenizer.encode(text, { addSpecialTokens: true })];
  if (unread.length === 0) {
    throw new TrainyardError('USAGE', {
      what: 'There is nothing to continue: the prompt has no tokens.',
      cure: 'give a --prompt that is not empty',
    });
  }
  for (let written = 0; written < maximumTokens; written += 1) {
    const logits = continuation.next(unread);
    if (written === 0 && held !== '') allowOnly(logits, (id) => tokenizer.decode([id]).startsWith(held));
    const token = sampleToken(logits, temperature, random);
    if (token === tokenizer.special.end) break;
    const piece = decoder.push(token);
    yield written === 0 ? piece.slice(held.length) : piece;
    unread = [token];
  }
  yield decoder.end();
}

/**
 * Tokenizers put a space at the start of the word behind it, so that a prompt's last space, encoded alone, is
 * something the model has hardly seen. It is held back, and the first token must begin with it.
 */
function holdTrailingSpace(prompt: string): { readonly text: string; readonly held: string } {
  return /[^ ] $/.test(prompt) ? { text: prompt.slice(0, -1), held: ' ' } : { text: prompt, held: '' };
}

/** Rules out every other token, unless that would leave none. */
function allowOnly(logits: Float32Array, isAllowed: (id: number) => boolean): void {
  const ruledOut = [...logits.keys()].filter((id) => !isAllowed(id));
  if (ruledOut.length === logits.length) return;
  for (const id of ruledOut) logits[id] = Number.NEGATIVE_INFINITY;
}

function noTokenizer(folder: string): TrainyardError {
  return new TrainyardError('TOKENIZER_INVALID', {
    what: 'The model folder has no tokenizer.',
    where: folder,
    expected: 'a tokenizer.json beside the weights',
    cure: 'copy the tokenizer that the model was trained with into the folder',
  });
}

function refuseUnfit(tokenizer: Tokenizer, vocabularySize: number, folder: string): void {
  if (tokenizer.vocabularySize <= vocabularySize) return;
  throw new TrainyardError('TOKENIZER_INVALID', {
    what: 'The tokenizer does not fit the model.',
    where: folder,
    expected: `ids below the model's vocab_size, ${vocabularySize}`,
    got: `ids up to ${tokenizer.vocabularySize - 1}`,
  });
}
