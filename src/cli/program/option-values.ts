import { InvalidArgumentError } from 'commander';

export const SET_HELP = 'override one key of the configuration (repeatable)';

export const JSON_HELP = 'print machine-readable JSON on stdout';

export interface JsonOption {
  readonly json?: boolean;
}

export interface ConfigOptions extends JsonOption {
  /** As they were written: `key.path=value`. */
  readonly set?: readonly string[];
}

export function collect(value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value];
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a whole number.');
  return Number(text);
}

export function positiveInteger(text: string): number {
  const value = wholeNumber(text);
  if (value === 0) throw new InvalidArgumentError('Expected at least 1.');
  return value;
}

export function port(text: string): number {
  const value = positiveInteger(text);
  if (value > 65_535) throw new InvalidArgumentError('Expected a port up to 65535.');
  return value;
}

export function collectCounts(text: string, before: readonly number[] = []): readonly number[] {
  return [...before, positiveInteger(text)];
}

/** Bytes of fp32 numbers. */
export function collectSizes(text: string, before: readonly number[] = []): readonly number[] {
  const bytes = positiveInteger(text);
  if (bytes % 4 !== 0) throw new InvalidArgumentError('Expected a multiple of 4.');
  return [...before, bytes];
}

export function temperature(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !(value >= 0 && value < Number.POSITIVE_INFINITY)) {
    throw new InvalidArgumentError('Expected a number, 0 or more.');
  }
  return value;
}
