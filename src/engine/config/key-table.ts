import type { JsonValue } from '../../base/json-document.js';

/**
 * The vocabulary of the tables of keys that Trainyard knows by name and does not act on.
 *
 * DeepSpeed ignores most keys that it does not know, and accepts several that do nothing. Here every key of
 * DeepSpeed's either acts (then a schema declares it), or has a row that says why it is refused.
 */
export type KeyTable = { readonly [key: string]: KeyRow };

/** One row: a key, a section of keys, or single values of a key that a schema declares. */
export type KeyRow = RefusedKey | KeySection | RefusedValues;

/** Why a key is refused. */
export type Verdict = 'not supported yet' | 'does nothing in DeepSpeed' | 'removed' | 'does not apply here';

/** A key that is refused, unless it holds a value that asks for nothing. */
export interface RefusedKey {
  readonly kind: 'key';
  readonly verdict: Verdict;
  readonly why: string;
  /** DeepSpeed's default; its type is the key's type. Null: no default, any type. */
  readonly standard: JsonValue;
  /** Whether `standard` asks for nothing, so that it is accepted. */
  readonly acceptsStandard: boolean;
}

/** A section. With a switch, the whole section is accepted while the switch holds its `off` value. */
export interface KeySection {
  readonly kind: 'section';
  readonly keys: KeyTable;
  readonly switch?: { readonly key: string; readonly off: JsonValue; readonly why: string };
}

/** Values of a key that are known and refused; the key's schema judges every other value. */
export interface RefusedValues {
  readonly kind: 'values';
  readonly why: string;
  /** The values, or the number above which every value is refused. */
  readonly values: readonly JsonValue[] | { readonly above: number };
}

/** A key that we do not act on yet. `standard` is DeepSpeed's default. */
export function later(standard: JsonValue, why: string): RefusedKey {
  return { kind: 'key', verdict: 'not supported yet', why, standard, acceptsStandard: false };
}

/** A key that we do not act on yet, whose default asks for nothing or for what Trainyard always does. */
export function off(standard: JsonValue, why: string): RefusedKey {
  return { kind: 'key', verdict: 'not supported yet', why, standard, acceptsStandard: true };
}

/** A key that DeepSpeed accepts and never reads. */
export function dead(standard: JsonValue, why: string): RefusedKey {
  return { kind: 'key', verdict: 'does nothing in DeepSpeed', why, standard, acceptsStandard: false };
}

/** A key that DeepSpeed itself rejects or has replaced. */
export function removed(why: string): RefusedKey {
  return { kind: 'key', verdict: 'removed', why, standard: null, acceptsStandard: false };
}

/** A key about something that Trainyard does not have: Python, or one way where DeepSpeed has two. */
export function foreign(standard: JsonValue, why: string): RefusedKey {
  return { kind: 'key', verdict: 'does not apply here', why, standard, acceptsStandard: true };
}

/** A section of keys, each judged by itself. */
export function section(keys: KeyTable): KeySection {
  return { kind: 'section', keys };
}

/** A section that is off as a whole while `key` is absent or holds `offValue`. */
export function switched(key: string, offValue: JsonValue, why: string, keys: KeyTable): KeySection {
  return { kind: 'section', keys, switch: { key, off: offValue, why } };
}

/** Single values that are refused. */
export function laterValues(values: RefusedValues['values'], why: string): RefusedValues {
  return { kind: 'values', values, why };
}
