import { TrainyardError } from '../base/errors.js';
import type { Document, DocumentKind } from './source/document.js';
import { ChatTemplate } from './tokenizer/chat-template.js';
import type { Tokenizer } from './tokenizer.js';

/** A stretch of one document's ids. */
export interface TokenizedPiece {
  readonly ids: ArrayLike<number>;
  readonly place: string;
  readonly kind: DocumentKind;
  /** Whether the document is complete with this piece. */
  readonly last: boolean;
}

/**
 * Turns documents into ids, in order.
 *
 * Text is followed by the tokenizer's end id, where it has one. Messages become text by the chat template, which
 * sets its own marks between turns, and `input_ids` are taken as they are: neither gets an end id.
 *
 * @throws DATA_INVALID for a mixture of ready ids with text or messages; TOKENIZER_INVALID where text comes
 *   without a tokenizer, or messages without a chat template.
 */
export async function* tokenizeDocuments(
  documents: AsyncIterable<Document>,
  tokenizer: Tokenizer | undefined,
): AsyncGenerator<TokenizedPiece> {
  let ready: boolean | undefined;
  let template: ChatTemplate | undefined;
  for await (const document of documents) {
    ready ??= document.kind === 'input_ids';
    if (ready !== (document.kind === 'input_ids')) throw mixture(document.place);
    const { kind, place } = document;
    switch (kind) {
      case 'text':
        yield* tokenizeText(document, required(tokenizer, place));
        break;
      case 'messages': {
        const known = required(tokenizer, place);
        template ??= chatTemplateOf(known, place);
        yield { ids: known.encode(template.render(document.messages, place)), place, kind, last: true };
        break;
      }
      case 'input_ids':
        yield { ids: document.ids, place, kind, last: true };
        break;
      default:
        kind satisfies never;
    }
  }
}

function* tokenizeText(
  { kind, place, pieces }: Extract<Document, { kind: 'text' }>,
  tokenizer: Tokenizer,
): Generator<TokenizedPiece> {
  let empty = true;
  for (const piece of pieces) {
    const ids = tokenizer.encode(piece);
    empty &&= ids.length === 0;
    yield { ids, place, kind, last: false };
  }
  const { end } = tokenizer.special;
  yield { ids: empty || end === undefined ? [] : [end], place, kind, last: true };
}

function required(tokenizer: Tokenizer | undefined, place: string): Tokenizer {
  if (tokenizer !== undefined) return tokenizer;
  throw new TrainyardError('TOKENIZER_INVALID', {
    what: 'The data is text, and there is no tokenizer.',
    where: place,
    cure: 'Set data.tokenizer to `bytes`, to a tokenizer.json or to a folder that holds one.',
  });
}

function chatTemplateOf(tokenizer: Tokenizer, place: string): ChatTemplate {
  if (tokenizer.chatTemplate !== undefined) {
    return new ChatTemplate(tokenizer.chatTemplate, tokenizer.templateVariables);
  }
  throw new TrainyardError('TOKENIZER_INVALID', {
    what: 'The data holds messages, and the tokenizer has no chat template.',
    where: place,
    expected: 'chat_template.jinja, or chat_template in tokenizer_config.json, beside the tokenizer',
    cure: 'Add the template of the model, or give the conversations as text.',
  });
}

function mixture(place: string): TrainyardError {
  return new TrainyardError('DATA_INVALID', {
    what: 'Ready input_ids and text cannot be mixed in one run.',
    where: place,
    cure: 'Point data.path at files of one kind.',
  });
}
