import { closeSync } from 'node:fs';
import { invariant } from '../../base/errors.js';
import type { NativeObject } from '../../native/binding.js';
import { native } from '../../native/native.js';
import { DTYPES } from '../../tensor/dtype.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { DirectFile, FileWork } from '../direct-files.js';
import type { FileDescriptor } from '../file-system.js';
import { FILE_ALIGNMENT } from './alignment.js';
import { type TransferPlace, transferFailed } from './failures.js';

/** What is asked of memory and offsets, in bytes. */
interface Alignment {
  readonly memory: number;
  readonly offset: number;
}

/** What direct I/O asks for on an open file; undefined where it asks for more than we keep. */
export function directAlignment(file: FileDescriptor): Alignment | undefined {
  const [memory, offset] = native.directAlignment(file);
  return memory <= FILE_ALIGNMENT && offset <= FILE_ALIGNMENT ? { memory, offset } : undefined;
}

/** The length of a file on the disk: the last transfer is a whole one there. */
export function paddedLength(bytes: number): number {
  return Math.ceil(bytes / FILE_ALIGNMENT) * FILE_ALIGNMENT;
}

/**
 * A file of so many bytes that has its room, and belongs to what is returned.
 *
 * @param place the folder and what the file holds, for errors
 * @param alignment of direct I/O; left out: through the page cache
 */
export function openDirectFile(
  queue: NativeObject,
  descriptor: FileDescriptor,
  place: string,
  bytes: number,
  alignment: Alignment | undefined,
): DirectFile {
  const isDirect = alignment !== undefined;
  const file = native.openTransferFile(descriptor, isDirect, alignment?.memory ?? 1, alignment?.offset ?? 1);
  closeSync(descriptor);
  const start = (writes: boolean) => {
    return (offset: number, memory: Tensor, memoryOffset: number, length: number): FileWork => {
      demandPlace(offset, length, bytes);
      demandMemory(memory, memoryOffset, length);
      if (length === 0) return { wait: () => {} };
      const { handle } = memory;
      const work = native.startTransfer(queue, file, writes, offset, handle, memoryOffset, length);
      return pendingWork(work, { writes, file: place, bytes: length, offset });
    };
  };
  return { bytes, read: start(false), write: start(true), close: () => native.closeTransferFile(file) };
}

function demandPlace(offset: number, length: number, bytes: number): void {
  const isInside = offset >= 0 && length >= 0 && offset + length <= bytes;
  invariant(isInside, `bytes ${offset} to ${offset + length} are not in a file of ${bytes} bytes`);
  const isAligned =
    offset % FILE_ALIGNMENT === 0 && (length % FILE_ALIGNMENT === 0 || offset + length === bytes);
  invariant(isAligned, `a transfer of ${length} bytes at offset ${offset} begins and ends at pages`);
}

function demandMemory({ elements, dtype }: Tensor, offset: number, length: number): void {
  const bytes = elements * DTYPES[dtype].bytes;
  const isInside = offset >= 0 && offset + length <= bytes;
  invariant(isInside, `bytes ${offset} to ${offset + length} are not in a tensor of ${bytes} bytes`);
}

function pendingWork(work: NativeObject, place: TransferPlace): FileWork {
  return {
    wait() {
      const [error, offset] = native.waitTransfer(work);
      if (error !== 0) throw transferFailed(error, offset, place);
    },
  };
}
