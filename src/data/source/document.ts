/** Where a document came from, as an error message prints it: `file`, `file:line` or `file row n`. */
type DocumentPlace = string;

/** One unit of the training data, before or after tokenization. */
export type Document =
  | {
      readonly kind: 'text';
      readonly place: DocumentPlace;
      /** The text, in pieces that may be tokenized one by one (see `split-text.ts`). Read once, in order. */
      readonly pieces: Iterable<string>;
    }
  | {
      readonly kind: 'messages';
      readonly place: DocumentPlace;
      readonly messages: readonly ChatMessage[];
    }
  | {
      readonly kind: 'input_ids';
      readonly place: DocumentPlace;
      readonly ids: readonly number[];
    };

/** How a document states its contents: the name of the `.jsonl` field that carries it. */
export type DocumentKind = Document['kind'];

/** One turn of a conversation, as Hugging Face chat templates take it. Further keys pass through to the template. */
export interface ChatMessage {
  readonly role: string;
  readonly [key: string]: unknown;
}
