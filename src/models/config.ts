import { z } from 'zod';
import { nonEmptyText } from '../base/schema.js';

/**
 * The `model` key: a folder in Hugging Face's layout, or a model described in place, in Hugging Face's own
 * field names, which starts from random weights. The fields are checked by the architecture that reads them.
 */
export const modelSchema = z
  .union([
    nonEmptyText(),
    z.looseObject({
      architecture: nonEmptyText().describe(
        'The model family, as `model_type` in a Hugging Face `config.json`: `llama`, `gpt2`, …',
      ),
    }),
  ])
  .describe(
    "A folder in Hugging Face's layout, or an object with `architecture` and the fields of a `config.json`, " +
      'which starts from random weights.',
  );

/** What `model` holds: a folder's path, or the fields of a Hugging Face `config.json`. */
export type ModelConfig = Readonly<z.output<typeof modelSchema>>;
