import { native } from '../../native/native.js';
import type { ConstantMemory } from '../constant-memory.js';
import { NativeConstants } from './native-constants.js';

/**
 * A file's pages as constants. Nothing is read before it is used, and the page cache is what the processes share.
 *
 * @param tensorBytes what of the file is used: it counts as allocated while it is mapped
 * @throws TrainyardError DATA_UNREADABLE
 */
export function mapConstantFile(path: string, tensorBytes: number): ConstantMemory {
  return new NativeConstants(native.mapConstants(path, tensorBytes));
}
