import type { JsonPath, JsonValue } from '../../base/json-document.js';
import type { ConfigIssue } from './issue.js';
import type { ConfigOrigin } from './origin.js';
import type { CheckedConfig } from './schema.js';

/** What the rules may know beside the configuration. */
export interface Surroundings {
  /** All ranks of the run. */
  readonly worldSize: number;
  /** Where each setting came from. */
  readonly origin: ConfigOrigin;
  /** Keys that the command cannot do without. */
  readonly requires: readonly (keyof CheckedConfig)[];
}

/** The value that was written at a path; undefined where none was, and where "auto" asks for the default. */
export type GivenValue = (path: JsonPath) => JsonValue | undefined;

/** A rule between keys. It is skipped while one of its keys has an issue of its own. */
export interface ConfigRule {
  readonly keys: readonly (keyof CheckedConfig)[];
  check(config: CheckedConfig, surroundings: Surroundings, given: GivenValue): ConfigIssue | undefined;
}
