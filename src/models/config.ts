import { z } from 'zod';
import { decayRate, nonEmptyText, positiveInteger, positiveNumber } from '../base/schema.js';

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

/** The `adapter` key: what is trained in place of the model's own parameters, in PEFT's terms. */
export const adapterSchema = z
  .strictObject({
    type: z.literal('lora').describe('Low-rank updates of linear layers (LoRA, arXiv 2106.09685).'),
    targets: z
      .union([z.literal('all-linear'), z.array(nonEmptyText()).min(1).readonly()])
      .optional()
      .describe(
        'The layers that get one, by their names or the ends of their names: `["q_proj", "v_proj"]`, or ' +
          '"all-linear" for all but the head (PEFT: `target_modules`).',
      ),
    rank: positiveInteger().optional().describe('Rank of the updates (PEFT: `r`). Left out: 8.'),
    alpha: positiveNumber()
      .optional()
      .describe('An update is multiplied by alpha / rank (PEFT: `lora_alpha`). Left out: 8.'),
    dropout: decayRate()
      .optional()
      .describe(
        'Probability with which an input element does not reach an update (PEFT: `lora_dropout`). Left out: 0.',
      ),
    path: nonEmptyText()
      .optional()
      .describe(
        "A folder in PEFT's layout whose adapter is trained on. It says targets, rank, alpha and dropout.",
      ),
    merge: z
      .boolean()
      .default(false)
      .describe(
        "Whether `output` receives the whole model with the updates added to its weights, in Hugging Face's layout, " +
          "and not the adapter alone in PEFT's.",
      ),
  })
  .optional()
  .describe(
    'Train an adapter and leave the model as it is: its parameters have no gradients and no optimizer states, and ' +
      'the ranks of a host have them in memory once.',
  );

/** What `adapter` holds. */
export type AdapterConfig = Readonly<NonNullable<z.output<typeof adapterSchema>>>;
