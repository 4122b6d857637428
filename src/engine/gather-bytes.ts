import type { ProcessGroup } from '../comm/process-group.js';
import { fromBytes } from '../tensor/create.js';
import { zeros } from '../tensor/generated/functions.js';
import { scope } from '../tensor/tensor.js';

/** Bytes of each rank, in their order, known to all. Every rank must call it, with equally many bytes. */
export function gatherBytes(group: ProcessGroup, own: Uint8Array): readonly Uint8Array[] {
  return scope(() => {
    const all = zeros([group.worldSize * own.length], { dtype: 'uint8' });
    group.allGather(all, fromBytes(own, [own.length], 'uint8')).wait();
    const bytes = all.toBytes();
    return Array.from({ length: group.worldSize }, (_, rank) =>
      bytes.slice(rank * own.length, (rank + 1) * own.length),
    );
  });
}

/** A text of each rank, of any length, in their order, known to all. Every rank must call it. */
export function gatherText(group: ProcessGroup, own: string): readonly string[] {
  const bytes = Buffer.from(own);
  const lengths = gatherNumbers(group, bytes.length);
  const padded = new Uint8Array(Math.max(...lengths));
  padded.set(bytes);
  return gatherBytes(group, padded).map((each, rank) => Buffer.from(each.slice(0, lengths[rank])).toString());
}

/** One number of each rank, in their order, known to all. Every rank must call it. */
export function gatherNumbers(group: ProcessGroup, own: number): readonly number[] {
  const bytes = new Uint8Array(Float64Array.of(own).buffer);
  return gatherBytes(group, bytes).map((each) => new Float64Array(each.slice().buffer)[0] ?? Number.NaN);
}
