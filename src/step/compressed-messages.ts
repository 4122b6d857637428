import { createCodec } from '../comm/codec.js';
import type { ActiveCompression } from '../comm/config.js';
import { type FlatRange, TALLY_ELEMENTS } from '../nn/flat-layout.js';
import { DTYPES } from '../tensor/dtype.js';
import type { Bucket, Program } from './program.js';

/** What a compressed exchange sends and keeps while it is on its way, in bytes. */
export interface CompressedMessages {
  /** Its whole message as it would lie in memory, what travels uncompressed included. */
  readonly bytes: number;
  /** What this rank sends. */
  readonly sentBytes: number;
  /** Of a reduction under way, at most: all of its values encoded, and what every rank says of the own chunk. */
  readonly memoryBytes: number;
  /** The same in each stage of a reduction (`comm/compressed-reductions.ts`). */
  readonly stages?: readonly number[];
}

/** Of a largest magnitude, and of each number of the tally. */
const EXACT_BYTES = 4;

/** Of a bucket that is summed on all ranks; everybody tells everybody its tally in fp32, where the bucket has it. */
export function compressedAllReduce(
  { start, end, carriesTally }: Pick<Bucket, 'start' | 'end' | 'carriesTally'>,
  compression: ActiveCompression,
  ranks: number,
): CompressedMessages {
  const peers = ranks - 1;
  // Chunks are as equal as can be, and all travel as the largest does.
  const chunk = messageBytes(Math.ceil((end - start) / ranks), compression);
  const tally = carriesTally ? TALLY_ELEMENTS * EXACT_BYTES : 0;
  return {
    bytes: ranks * chunk + tally,
    // The others get their chunks, and then each of them the sum of the own one.
    sentBytes: 2 * peers * chunk + peers * tally + maximumBytes(compression, peers),
    memoryBytes: 2 * ranks * chunk,
    stages: [...agreement(compression), 2 * ranks * chunk, ranks * chunk],
  };
}

/** Of one part of a block's gradients, whose sums stay with the ranks that own them. */
export function compressedReduceScatter(
  { start, end }: FlatRange,
  compression: ActiveCompression,
  { groups }: Pick<Program, 'groups'>,
): CompressedMessages {
  const ranks = groups.data.length;
  const peers = ranks - 1;
  const own = messageBytes(end - start, compression);
  return {
    bytes: ranks * own,
    sentBytes: peers * own + maximumBytes(compression, peers),
    memoryBytes: 2 * ranks * own,
    stages: [...agreement(compression), 2 * ranks * own],
  };
}

/** The same where only the sums of hosts are compressed, for the other hosts. */
export function compressedBetweenHosts(
  { start, end }: FlatRange,
  compression: ActiveCompression,
  { groups, hosts = [groups.data] }: Pick<Program, 'groups' | 'hosts'>,
): CompressedMessages {
  const neighbours = (hosts[0]?.length ?? 1) - 1;
  const row = (end - start) * EXACT_BYTES;
  const code = messageBytes(end - start, compression);
  return {
    // What a host's ranks together say to the others, and to each other.
    bytes: groups.data.length * (row + code),
    sentBytes: neighbours * hosts.length * row + (hosts.length - 1) * code,
    memoryBytes: Math.max(neighbours * hosts.length * row, 2 * (hosts.length - 1) * code),
  };
}

/** Of a gather of blocks whose slices are compressed on their way. */
export function compressedAllGather(
  sliceElements: number,
  compression: ActiveCompression,
  { groups }: Pick<Program, 'groups'>,
): CompressedMessages {
  const ranks = groups.data.length;
  const own = messageBytes(sliceElements, compression);
  return { bytes: ranks * own, sentBytes: (ranks - 1) * own, memoryBytes: ranks * own };
}

/** Of a message of so many values. */
function messageBytes(values: number, compression: ActiveCompression): number {
  const codec = createCodec(compression);
  return codec.messageElements(values) * DTYPES[codec.dtype].bytes;
}

/** The words of a program for a compression ("fp16 dynamic", "fp16 static × 512", "int8 in blocks of 128"). */
export function compressionName(compression: ActiveCompression): string {
  switch (compression.type) {
    case 'fp16-static':
      return `fp16 static × ${compression.scale}`;
    case 'int8':
    case 'int4':
      return `${compression.type} in blocks of ${compression.block_size}`;
    case 'fp16-dynamic':
      return 'fp16 dynamic';
    case 'fp16':
    case 'bf16':
    case 'one-bit':
      return compression.type;
    default:
      return compression satisfies never;
  }
}

/** Before they encode, ranks agree on the largest magnitude where the scale depends on it: no message is made yet. */
function agreement(compression: ActiveCompression): readonly number[] {
  return createCodec(compression).usesMaximum ? [0] : [];
}

/** Each other rank is told the largest magnitude, where the scale depends on it. */
function maximumBytes(compression: ActiveCompression, peers: number): number {
  return createCodec(compression).usesMaximum ? peers * EXACT_BYTES : 0;
}
