import { z } from 'zod';
import { nonEmptyText } from '../base/schema.js';

/** The `data` key: what a run reads, and how it becomes sequences of tokens. */
export const dataSchema = z
  .strictObject({
    path: z
      .union([nonEmptyText(), z.array(nonEmptyText()).min(1).readonly()])
      .describe(
        'Files, folders or globs, relative to the working directory: text and source files, `.jsonl`, `.parquet`.',
      ),
    tokenizer: nonEmptyText()
      .optional()
      .describe(
        '`bytes`, or the path of a `tokenizer.json` or of the folder that holds one. Left out: the ' +
          'tokenizer of the model folder.',
      ),
    sequence_length: z
      .int()
      .min(2)
      .optional()
      .describe(
        'Tokens in a sequence. Left out: 1024, or the longest the model takes if that is less; for ready ' +
          '`input_ids` the longest of them, up to what the model takes.',
      ),
    shuffle: z
      .boolean()
      .optional()
      .describe(
        'Visit the sequences in an order drawn from `seed`. Left out: true for text, false for ready `input_ids`.',
      ),
    pack: z
      .boolean()
      .optional()
      .describe(
        'Put documents end to end, so that every sequence is full. Left out: true for text, false for ready `input_ids`.',
      ),
    text_field: nonEmptyText()
      .default('text')
      .describe('The field of a `.jsonl` line, or the column of a `.parquet` file, that holds the text.'),
  })
  .describe('The training data.');

/** The `data` slice with its defaults filled in. */
export type DataConfig = Readonly<Omit<z.output<typeof dataSchema>, 'path'>> & {
  readonly path: string | readonly string[];
};
