import { chunkStart } from '../comm/chunk.js';
import type { FlatRange } from '../nn/flat-layout.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ErrorFeedbackLayout, OwnChunk, Program } from './program.js';

/**
 * What this rank's messages have lost and the next ones must say: fp32, kept from step to step. Of this rank's
 * gradients (1-bit Adam: worker error), and of the sums that it encodes for all (server error).
 */
export interface ErrorMemory {
  /** [trainable elements] */
  readonly worker: Tensor;
  /** The own chunks of all buckets, one after the other; empty where sums stay with their owners. */
  readonly server: Tensor;
  /** Makes them errors of gradients under another loss scale than before. */
  expressIn(lossScale: number): void;
}

/** The chunks of buckets whose sums a rank encodes. */
export function ownChunks({
  rank,
  groups,
  buckets,
}: Pick<Program, 'rank' | 'groups' | 'buckets'>): readonly OwnChunk[] {
  const ranks = groups.data.length;
  const place = groups.data.indexOf(rank);
  let offset = 0;
  return buckets.map((bucket) => {
    const startOf = (of: number) => bucket.start + chunkStart(bucket.end - bucket.start, of, ranks);
    const chunk = { start: startOf(place), end: startOf(place + 1), offset };
    offset += chunk.end - chunk.start;
    return chunk;
  });
}

/** Elements of the errors of sums. */
export function serverElements({ server }: Pick<ErrorFeedbackLayout, 'server'>): number {
  return server.reduce((sum, { start, end }) => sum + end - start, 0);
}

/** The places between parameters in the flat buffer, which belong to none. */
export function paddingOf({ blocks, trainableElements }: Program): readonly FlatRange[] {
  const slots = blocks
    .flatMap(({ parameters }) => parameters)
    .filter(({ name, owner, trainable }) => name === owner && trainable)
    .sort((left, right) => left.offset - right.offset);
  const gaps: FlatRange[] = [];
  let covered = 0;
  for (const { offset, elements } of [...slots, { offset: trainableElements, elements: 0 }]) {
    if (offset > covered) gaps.push({ start: covered, end: offset });
    covered = offset + elements;
  }
  return gaps;
}
