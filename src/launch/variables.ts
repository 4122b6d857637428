import { TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';

/** Environment variables as `process.env` holds them. */
export type Variables = Readonly<Record<string, string | undefined>>;

/** An empty variable counts as unset, as in a shell's `RANK= command`. */
export function text(variables: Variables, name: string): string | undefined {
  const value = variables[name]?.trim();
  return value === '' ? undefined : value;
}

/** @throws TrainyardError USAGE for anything but a whole number */
export function integer(variables: Variables, name: string): number | undefined {
  const value = text(variables, name);
  if (value === undefined) return undefined;
  if (!/^\d{1,9}$/.test(value)) throw malformed(name, value, 'a whole number');
  return Number(value);
}

export function malformed(name: string, value: string, expected: string): TrainyardError {
  return new TrainyardError('USAGE', {
    what: `The environment variable ${name} is malformed.`,
    expected,
    got: quote(value),
  });
}
