import { native } from '../../native/native.js';
import type { ConstantMemory } from '../constant-memory.js';
import { scope } from '../tensor.js';
import { NativeConstants } from './native-constants.js';

/** Constants that this process made, and where others of its host find them for as long as it runs. */
export interface SharedConstants {
  readonly memory: ConstantMemory;
  readonly address: ConstantsAddress;
}

/** Memory without a name is known by the process that made it and the number by which that has it open. */
export interface ConstantsAddress {
  readonly process: number;
  readonly descriptor: number;
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
  return { memory, address: { process: process.pid, descriptor: native.constantsDescriptor(object) } };
}

/**
 * The constants that another process of this host has made.
 *
 * @throws TrainyardError DATA_UNREADABLE when it is gone, or may not be looked into
 */
export function openConstants(address: ConstantsAddress, tensorBytes: number): ConstantMemory {
  const path = `/proc/${address.process}/fd/${address.descriptor}`;
  return new NativeConstants(native.mapConstants(path, tensorBytes));
}
