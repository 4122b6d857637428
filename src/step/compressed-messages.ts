import { chunkStart } from '../comm/chunk.js';
import type { ActiveCompression } from '../comm/config.js';
import { type FlatRange, TALLY_ELEMENTS } from '../nn/flat-layout.js';
import type { Bucket, Program } from './program.js';

/** What a compressed reduction sends and keeps while it is on its way, in bytes. */
export interface CompressedMessages {
  /** Its whole message as it would lie in memory, what travels uncompressed included. */
  readonly bytes: number;
  /** What this rank sends. */
  readonly sentBytes: number;
  /** Of a reduction under way: all of its values in 16 bits, and the chunks of the other ranks. */
  readonly memoryBytes: number;
}

const COMPRESSED_BYTES = 2;
/** Of a largest magnitude, and of each number of the tally. */
const EXACT_BYTES = 4;

/** Of a bucket that is summed on all ranks; everybody tells everybody its tally in fp32, where the bucket has it. */
export function compressedAllReduce(
  { start, end, carriesTally }: Pick<Bucket, 'start' | 'end' | 'carriesTally'>,
  compression: ActiveCompression,
  { rank, groups }: Pick<Program, 'rank' | 'groups'>,
): CompressedMessages {
  const ranks = groups.data.length;
  const peers = ranks - 1;
  const place = groups.data.indexOf(rank);
  const values = end - start;
  const own = chunkStart(values, place + 1, ranks) - chunkStart(values, place, ranks);
  const tally = carriesTally ? TALLY_ELEMENTS * EXACT_BYTES : 0;
  return {
    bytes: values * COMPRESSED_BYTES + tally,
    // The others get their chunks, and then each of them the sum of the own one.
    sentBytes:
      (values - own + peers * own) * COMPRESSED_BYTES + peers * tally + maximumBytes(compression, peers),
    memoryBytes: (values + peers * own) * COMPRESSED_BYTES,
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
  const own = end - start;
  return {
    bytes: ranks * own * COMPRESSED_BYTES,
    sentBytes: peers * own * COMPRESSED_BYTES + maximumBytes(compression, peers),
    memoryBytes: (ranks + peers) * own * COMPRESSED_BYTES,
  };
}

/** The words of a program for a compression ("fp16 dynamic", "fp16 static × 512"). */
export function compressionName(compression: ActiveCompression): string {
  const name = compression.type.replace('-', ' ');
  return compression.type === 'fp16-static' ? `${name} × ${compression.scale}` : name;
}

/** Each other rank is told the largest magnitude, where the scale depends on it. */
function maximumBytes({ type }: ActiveCompression, peers: number): number {
  return type === 'fp16-dynamic' ? peers * EXACT_BYTES : 0;
}
