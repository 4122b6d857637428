import type { FlatSlot } from '../nn/flat-layout.js';
import type { Bucket, ProgramBlock } from '../step/program.js';

/**
 * Cuts the flat gradient buffer into buckets, from its end to its start: that is the order in which backward
 * finishes the blocks. A bucket is full when the next parameter would make it longer than `bucketElements`;
 * a parameter longer than that travels alone (DeepSpeed: reduce_bucket_size). Padding after a parameter goes
 * with it, so that the buckets cover the buffer without a gap.
 *
 * @param leastElements a bucket shorter than that is not closed, whatever comes next
 */
export function assignBuckets(
  blocks: readonly ProgramBlock[],
  trainableElements: number,
  bucketElements: number,
  leastElements = 0,
): readonly Bucket[] {
  const users = usersByOwner(blocks);
  const owners = blocks
    .flatMap((block) => block.parameters)
    .filter((parameter) => parameter.trainable && parameter.owner === parameter.name)
    .sort((a, b) => b.offset - a.offset);

  const buckets: Bucket[] = [];
  let open: FlatSlot[] = [];
  let end = trainableElements;
  const close = () => {
    const last = open.at(-1);
    if (last === undefined) return;
    const start = last.offset;
    buckets.push({
      start,
      end,
      parameters: open.map((parameter) => parameter.name).reverse(),
      blocks: ascending(open.flatMap((parameter) => users.get(parameter.name) ?? [])),
      carriesTally: buckets.length === 0,
    });
    open = [];
    end = start;
  };
  for (const parameter of owners) {
    const isLongEnough = end - (open.at(-1)?.offset ?? end) >= leastElements;
    if (isLongEnough && end - parameter.offset > bucketElements) close();
    open.push(parameter);
  }
  close();
  return buckets;
}

/** The blocks that use each owner's memory, and so add to its gradient. */
function usersByOwner(blocks: readonly ProgramBlock[]): ReadonlyMap<string, readonly number[]> {
  const users = new Map<string, number[]>();
  for (const [index, block] of blocks.entries()) {
    for (const { owner } of block.parameters) users.set(owner, [...(users.get(owner) ?? []), index]);
  }
  return users;
}

function ascending(indices: readonly number[]): readonly number[] {
  return [...new Set(indices)].sort((a, b) => a - b);
}
