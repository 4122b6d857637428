import { TrainyardError } from '../base/errors.js';
import { nearestNames } from '../base/nearest-names.js';

/** A model's configuration as it was read: Hugging Face's field names, nothing checked yet. */
export type RawConfig = Readonly<Record<string, unknown>>;

/**
 * What becomes of one field of a model's configuration. Every field that we know has a verdict, and a field
 * without one is an error, so that nothing which could change the result is passed over in silence.
 *
 * - `used`: the architecture reads it.
 * - `harmless`: it cannot change what a forward and backward pass compute, for the reason given.
 * - `only`: it would, and these values are the ones that mean what we compute.
 */
export type FieldVerdict =
  | { readonly kind: 'used' }
  | { readonly kind: 'harmless'; readonly because: string }
  | { readonly kind: 'only'; readonly values: readonly unknown[]; readonly because: string };

/** The verdicts of an architecture, by field name. */
export type FieldTable = Readonly<Record<string, FieldVerdict>>;

/** Verdicts for fields that the architecture reads. */
export function used<Name extends string>(...names: readonly Name[]): Record<Name, FieldVerdict> {
  return verdicts(names, { kind: 'used' });
}

/** Verdicts for fields that cannot change the result. */
export function harmless<Name extends string>(
  because: string,
  ...names: readonly Name[]
): Record<Name, FieldVerdict> {
  return verdicts(names, { kind: 'harmless', because });
}

/** The verdict of a field that must have one of these values, or be absent or null. */
export function only(values: readonly unknown[], because: string): FieldVerdict {
  return { kind: 'only', values, because };
}

function verdicts<Name extends string>(
  names: readonly Name[],
  verdict: FieldVerdict,
): Record<Name, FieldVerdict> {
  return Object.fromEntries(names.map((name) => [name, verdict])) as Record<Name, FieldVerdict>;
}

/**
 * Reads a model's configuration field by field. Construction goes through every field's verdict; the getters
 * check type and range. An absent field and `null` both mean the default, as in Hugging Face.
 *
 * Throws MODEL_UNSUPPORTED for a field or value that we do not compute, CONFIG_INVALID for a wrong one.
 */
export class ConfigReader {
  readonly #fields: ReadonlyMap<string, unknown>;

  /**
   * @param where the configuration's place in messages ("models/tiny/config.json", "model")
   * @param subject what it configures, in messages ("llama")
   */
  constructor(
    raw: RawConfig,
    table: FieldTable,
    readonly where: string,
    readonly subject: string,
  ) {
    this.#fields = new Map(Object.entries(raw));
    for (const [name, value] of this.#fields) {
      const verdict = Object.hasOwn(table, name) ? table[name] : undefined;
      if (verdict === undefined) throw this.#unknown(name, value, table);
      if (verdict.kind === 'only' && value !== null) this.#demand(name, value, verdict);
    }
  }

  /** A whole number of at least `minimum`. */
  integer(name: string, fallback: number, minimum = 1): number {
    return this.optionalInteger(name, minimum) ?? fallback;
  }

  optionalInteger(name: string, minimum = 1): number | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= minimum) return value;
    throw this.invalid(name, `a whole number of at least ${minimum}`);
  }

  /** A finite number greater than zero. */
  positive(name: string, fallback: number): number {
    const value = this.#get(name) ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    throw this.invalid(name, 'a number greater than 0');
  }

  /** The share of values that dropout zeroes: 0 up to, but not, 1. */
  probability(name: string, fallback: number): number {
    const value = this.#get(name) ?? fallback;
    if (typeof value === 'number' && value >= 0 && value < 1) return value;
    throw this.invalid(name, 'a number from 0 up to, but not including, 1');
  }

  boolean(name: string, fallback: boolean): boolean {
    const value = this.#get(name) ?? fallback;
    if (typeof value === 'boolean') return value;
    throw this.invalid(name, 'true or false');
  }

  /** One of the names we compute, given as Hugging Face spells them; the result is our name for it. */
  choice<Value>(name: string, fallback: string, choices: Readonly<Record<string, Value>>): Value {
    const value = this.#get(name) ?? fallback;
    if (typeof value !== 'string') throw this.invalid(name, 'a string');
    const chosen = Object.hasOwn(choices, value) ? choices[value] : undefined;
    if (chosen !== undefined) return chosen;
    throw this.unsupported(name, `one of ${Object.keys(choices).join(', ')}`);
  }

  list(name: string): readonly unknown[] | undefined {
    const value = this.#get(name);
    if (value === undefined || Array.isArray(value)) return value;
    throw this.invalid(name, 'a list');
  }

  object(name: string): RawConfig | undefined {
    const value = this.#get(name);
    if (value === undefined) return undefined;
    if (typeof value === 'object' && !Array.isArray(value)) return value as RawConfig;
    throw this.invalid(name, 'an object');
  }

  has(name: string): boolean {
    return this.#get(name) !== undefined;
  }

  /** The field is there and says null, where that differs from its being absent. */
  isNull(name: string): boolean {
    return this.#fields.get(name) === null;
  }

  /** The error for a field whose value is of the wrong type, out of range or at odds with another field. */
  invalid(name: string, expected: string): TrainyardError {
    return this.#error(
      'CONFIG_INVALID',
      `The ${this.subject} configuration has a wrong ${name}.`,
      name,
      expected,
    );
  }

  /** The error for a field that asks for what we do not compute. */
  unsupported(name: string, expected: string): TrainyardError {
    const what = `The ${this.subject} configuration asks for a ${name} that is not supported.`;
    return this.#error('MODEL_UNSUPPORTED', what, name, expected);
  }

  #get(name: string): unknown {
    return this.#fields.get(name) ?? undefined;
  }

  #demand(name: string, value: unknown, verdict: FieldVerdict & { readonly kind: 'only' }): void {
    const text = JSON.stringify(value);
    if (verdict.values.some((allowed) => JSON.stringify(allowed) === text)) return;
    const allowed = verdict.values.map((each) => JSON.stringify(each));
    throw this.unsupported(name, `${[...allowed, 'no such field'].join(' or ')}: ${verdict.because}`);
  }

  #unknown(name: string, value: unknown, table: FieldTable): TrainyardError {
    const near = nearestNames(name, Object.keys(table));
    return new TrainyardError('MODEL_UNSUPPORTED', {
      what: `The ${this.subject} configuration has a field that is not known: ${name}.`,
      where: `${this.where}: ${name}`,
      expected: near.length > 0 ? near.join(', ') : namesOfUsed(table).join(', '),
      got: show(value),
      cure: 'It could change what the model computes. Check its spelling, or remove it if it does nothing.',
    });
  }

  #error(code: 'CONFIG_INVALID' | 'MODEL_UNSUPPORTED', what: string, name: string, expected: string) {
    const got = show(this.#fields.get(name));
    return new TrainyardError(code, { what, where: `${this.where}: ${name}`, expected, got });
  }
}

function namesOfUsed(table: FieldTable): readonly string[] {
  return Object.keys(table).filter((name) => table[name]?.kind === 'used');
}

function show(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 120 ? `${text.slice(0, 117)}...` : text;
}
