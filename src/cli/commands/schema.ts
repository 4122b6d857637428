import { configJsonSchema } from '../../engine/config/published-schema.js';

/** Prints the JSON Schema (draft 2020-12) of the configuration. */
export async function printSchema(): Promise<void> {
  process.stdout.write(`${JSON.stringify(configJsonSchema(), null, 2)}\n`);
}
