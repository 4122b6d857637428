import type { Handle } from '../native/binding.js';
import { native } from '../native/native.js';
import type { Tensor } from './tensor.js';

/**
 * The number of an operator. One that this libtorch lacks gets a number that no operator has, so that the
 * error comes when it is called and not when the module loads.
 */
export function findOperator(name: string, overload: string): number {
  try {
    return native.findOperator(name, overload);
  } catch {
    return MISSING;
  }
}

const MISSING = 0xffff_ffff;

/** The handles of a list of tensors. */
export function handles(tensors: readonly Tensor[]): readonly Handle[] {
  return tensors.map((tensor) => tensor.handle);
}
