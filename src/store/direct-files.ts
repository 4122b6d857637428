import type { Tensor } from '../tensor/tensor.js';

/**
 * Files of memory that has no room elsewhere (DeepSpeed: csrc/aio, runtime/swap_tensor): read and written beside the
 * JavaScript thread, past the page cache where the file system allows it, so that what they hold takes no memory.
 *
 * They have no names: each is unlinked as soon as it is open. So it goes with its process, however that one ends, and
 * nothing is left to find or to clean up; a folder that is deleted meanwhile changes nothing.
 */
export interface DirectFolder {
  readonly path: string;
  /** What was chosen and why, such as "io_uring, direct I/O, 8 requests of 1024 KiB at once". */
  describe(): string;
  /**
   * Demands room before anything is computed.
   *
   * @param bytes of all files that will be there at once, those of other ranks on this disk included
   * @throws TrainyardError OFFLOAD_UNUSABLE which says how much is free
   */
  demandSpace(bytes: number): void;
  /**
   * A file whose room on the disk is its own from now on.
   *
   * @param name what it holds, for errors
   * @throws TrainyardError OFFLOAD_UNUSABLE where there is no room
   */
  create(name: string, bytes: number): DirectFile;
  /** Waits for what is under way and ends its threads. Its files are closed by then, or useless. */
  close(): void;
}

/** A file of fixed length. Its first content is zeros. */
export interface DirectFile {
  readonly bytes: number;
  /**
   * Starts to read bytes of the file into memory. Nobody may read or write these bytes of memory before `wait`.
   *
   * @param offset in the file; a multiple of FILE_ALIGNMENT
   * @param memory contiguous, on the host; where it begins at a page (`alignedZeros`) nothing is copied on the way
   * @param memoryOffset in bytes
   * @param bytes a multiple of FILE_ALIGNMENT, unless the file ends there
   */
  read(offset: number, memory: Tensor, memoryOffset: number, bytes: number): FileWork;
  /** Starts to write bytes of memory into the file, as `read`. Nobody may write these bytes of memory before `wait`. */
  write(offset: number, memory: Tensor, memoryOffset: number, bytes: number): FileWork;
  /** Gives its room back, once nothing of it is under way any more. */
  close(): void;
}

/** Reading or writing that has been started. Several may be under way in one file, in any order. */
export interface FileWork {
  /**
   * Blocks until it is done. Waiting again is harmless.
   *
   * @throws TrainyardError OFFLOAD_FAILED with the file, the offset and what the system says
   */
  wait(): void;
}
