import type { SpecialTokenIds } from '../tokenizer.js';

/** What every tokenizer read from a Hugging Face folder has, however it encodes. */
export interface TokenizerSetting {
  readonly identity: string;
  readonly vocabularySize: number;
  readonly special: SpecialTokenIds;
  readonly chatTemplate: string | undefined;
  readonly templateVariables: Readonly<Record<string, string>>;
  readonly files: ReadonlyMap<string, string>;
}
