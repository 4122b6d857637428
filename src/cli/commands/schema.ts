import { jsonSchemaOf } from '../../base/json-schema.js';
import { configSchema } from '../../engine/config/schema.js';

/** Prints the JSON Schema (draft 2020-12) of the configuration. */
export async function printSchema(): Promise<void> {
  process.stdout.write(`${JSON.stringify(jsonSchemaOf(configSchema), null, 2)}\n`);
}
