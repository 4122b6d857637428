import { native } from '../../native/native.js';
import type { ConstantMemory } from '../constant-memory.js';
import { scope } from '../tensor.js';
import { NativeConstants } from './native-constants.js';

/** Constants that this process made, and by what others of its host find them for as long as it runs. */
export interface SharedConstants {
  readonly memory: ConstantMemory;
  readonly address: string;
}

/** Its length, and what of it is used: that counts as allocated while it is mapped. */
export interface ConstantsSize {
  readonly bytes: number;
  readonly tensorBytes: number;
}

/**
 * Makes constants of what `fill` writes into memory of zeros. The memory has no name: it goes with the last process
 * that has it, however that ends. What is never written takes no memory.
 *
 * @param fill is given the memory while it can be written, in a scope that frees its tensors
 * @throws TrainyardError DATA_UNREADABLE when the system has none to give
 */
export function shareConstants(
  { bytes, tensorBytes }: ConstantsSize,
  fill: (memory: ConstantMemory) => unknown,
): SharedConstants {
  const object = native.createConstants(bytes);
  const memory = new NativeConstants(object);
  scope(() => void fill(memory));
  native.sealConstants(object, tensorBytes);
  return { memory, address: native.constantsAddress(object) };
}

/**
 * The constants that another process of this host has made.
 *
 * @throws TrainyardError DATA_UNREADABLE when it is gone, or may not be looked into
 */
export function openConstants(address: string, tensorBytes: number): ConstantMemory {
  return new NativeConstants(native.openConstants(address, tensorBytes));
}
