import { type JsonSchema, jsonSchemaOf } from '../../base/json-schema.js';
import { deepSpeedKeys } from './deepspeed-keys.js';
import type { KeyTable } from './key-table.js';
import { configSchema } from './schema.js';

/** Everything that has a name in a configuration: the schema's keys and those that are known and refused. */
export interface KnownKeys {
  readonly schema: JsonSchema;
  readonly table: KeyTable;
}

/** The names that a configuration may use. */
export const knownKeys: KnownKeys = {
  schema: jsonSchemaOf(configSchema),
  table: deepSpeedKeys,
};
