import { z } from 'zod';

/**
 * The vocabulary in which each owner declares its slice of the configuration.
 *
 * A slice is a strict zod object whose keys carry their description and default; everything else (types, the
 * JSON Schema, `docs/config.md`, error messages) is derived from it.
 */

/** An integer from 1 up. */
export function positiveInteger(): z.ZodInt {
  return z.int().min(1);
}

/** An integer from 0 up. */
export function nonNegativeInteger(): z.ZodInt {
  return z.int().min(0);
}

/** A finite number from 0 up. */
export function nonNegativeNumber(): z.ZodNumber {
  return z.number().min(0);
}

/** A finite number above 0. */
export function positiveNumber(): z.ZodNumber {
  return z.number().gt(0);
}

/** A number from 0 up to, but not including, 1: a decay rate or a momentum. */
export function decayRate(): z.ZodNumber {
  return z.number().min(0).lt(1);
}

/** Text of at least one character: a path or a name. */
export function nonEmptyText(): z.ZodString {
  return z.string().min(1);
}
