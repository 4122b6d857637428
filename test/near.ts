import assert from 'node:assert/strict';

/**
 * Requires a number near another, so many times that one away from it at most.
 *
 * @param got undefined: it is missing, which is an error, as it is for `expected`
 */
export function near(
  got: number | undefined,
  expected: number | undefined,
  tolerance: number,
  what: string,
): void {
  assert.ok(got !== undefined && expected !== undefined, `${what} is missing`);
  const error = Math.abs(got - expected) / Math.max(Math.abs(expected), Number.MIN_VALUE);
  assert.ok(error <= tolerance || got === expected, `${what}: ${got} for ${expected}, off by ${error}`);
}
