import type { NativeObject } from '../../native/binding.js';
import { native } from '../../native/native.js';
import type { AioConfig } from '../config.js';

/** A way to read and write files. */
export interface TransferKind {
  readonly engine: 'io_uring' | 'threads';
  /** Past the page cache. */
  readonly isDirect: boolean;
}

/** Best first. */
export const TRANSFER_KINDS: readonly TransferKind[] = [
  { engine: 'io_uring', isDirect: true },
  { engine: 'threads', isDirect: true },
  { engine: 'threads', isDirect: false },
];

/** What a test lets go wrong. */
export interface Fault {
  /** The request that fails, counted from 1. */
  readonly at?: number;
  /** The system's error number. */
  readonly error?: number;
  /** Every request asks for less than it should. */
  readonly cutsShort?: boolean;
}

/** @throws TrainyardError OFFLOAD_UNUSABLE where the kernel has no io_uring, or does not allow it */
export function createQueue(kind: TransferKind, aio: AioConfig, fault: Fault = {}): NativeObject {
  return native.createFileQueue({
    usesRing: kind.engine === 'io_uring',
    blockBytes: aio.block_size,
    depth: aio.queue_depth,
    threads: aio.intra_op_parallelism,
    singleSubmit: aio.single_submit,
    overlapEvents: aio.overlap_events,
    faultAt: fault.at ?? 0,
    faultError: fault.error ?? 0,
    cutsShort: fault.cutsShort ?? false,
  });
}

/** A kind as it is printed. */
export function describeKind({ engine, isDirect }: TransferKind): string {
  return `${engine}, ${isDirect ? 'direct I/O' : 'through the page cache'}`;
}

/** A way to read and write files, and how it is used, as it is printed. */
export function describeQueue(kind: TransferKind, aio: AioConfig): string {
  const { block_size: block, queue_depth: depth, intra_op_parallelism: threads } = aio;
  const isRing = kind.engine === 'io_uring';
  return [
    describeKind(kind),
    `${depth * threads} requests of ${block / 1024} KiB at once`,
    ...(isRing && aio.single_submit ? ['each by a call of its own'] : []),
    ...(isRing && !aio.overlap_events ? ['the next when all have ended'] : []),
  ].join(', ');
}
