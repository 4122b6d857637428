import { invariant } from '../base/errors.js';
import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import { type Codec, compress, decompress, largestMagnitude } from './codec.js';
import type { ProcessGroup } from './process-group.js';
import type { Work } from './work.js';

/** What compressed reductions are made of. */
export type CompressedTransport = Pick<ProcessGroup, 'rank' | 'worldSize' | 'allReduce' | 'send' | 'receive'>;

/** Tags of their own, so that no other message is taken for one of these. */
const SCATTER_TAG = 0x7b01;
const GATHER_TAG = 0x7b02;

/**
 * Sums over the ranks that travel in 16 bits and are made in fp32. Rank r owns the r-th chunk of the values:
 *
 * 1. the ranks agree on the largest magnitude, where the codec needs it;
 * 2. every rank compresses all its values and sends each other rank the chunk that that one owns;
 * 3. the owner adds what the ranks say in the order of ranks, in fp32, and compresses the sum;
 * 4. every owner sends its sum to all others, and everybody decompresses.
 *
 * Each rank sends (N−1)/N of the compressed bytes in 2 and in 4. The result is the same on all ranks to the last
 * bit, and where the chunks end has no influence on it.
 *
 * [Note: overlap] Messages travel on the transport's threads; compression and sums need this one. A reduction
 * therefore goes on by one stage whenever a later one is started, when what it waits for has had a backward's
 * time to arrive, and runs to its end in `wait`. All ranks start and wait in one order, and so meet.
 */
export class CompressedReductions {
  readonly #transport: CompressedTransport;
  /** Started and not done, in the order of their starts. */
  readonly #pending = new Set<Generator<void, void>>();

  constructor(transport: CompressedTransport) {
    this.#transport = transport;
  }

  /** Starts the sum of flat fp32 values over all ranks, in place. */
  allReduce(values: Tensor, codec: Codec): Work {
    this.#advance();
    const reduction = compressedSum(this.#transport, values, codec);
    this.#pending.add(reduction);
    this.#advance(reduction);
    return {
      wait: () => {
        while (this.#pending.has(reduction)) this.#advance();
      },
    };
  }

  /** Takes every pending reduction, or this one, one stage further. */
  #advance(...some: readonly Generator<void, void>[]): void {
    for (const reduction of some.length > 0 ? some : [...this.#pending]) {
      const { done } = noGrad(() => scope(() => reduction.next()));
      if (done === true) this.#pending.delete(reduction);
    }
  }
}

/** One sum; it yields where there is something to wait for. */
function* compressedSum(transport: CompressedTransport, values: Tensor, codec: Codec): Generator<void, void> {
  const { rank, worldSize } = transport;
  const flat = keep(values.view([-1]));
  const maximum = codec.usesMaximum ? yield* agreeOnMaximum(transport, flat) : 0;
  const scale = codec.scaleFor(maximum);
  const sumScale = codec.scaleFor(maximum * worldSize);

  const message = keep(empty([flat.elements], { dtype: codec.dtype, device: flat.device }));
  compress(flat, scale, message);
  const chunks = chunksOf(message, worldSize);
  const own = chunks[rank];
  invariant(own, `rank ${rank} owns no chunk`);
  const parts = chunks.map((chunk, peer) =>
    peer === rank ? chunk : keep(empty(own.shape, { dtype: codec.dtype, device: flat.device })),
  );
  yield* exchange(transport, (peer) => [chunks[peer], parts[peer]], SCATTER_TAG);

  const start = chunkStart(flat.elements, rank, worldSize);
  const sum = flat.narrow(0, start, own.elements);
  addUp(parts, sum);
  compress(sum, sumScale / scale, own);
  for (const part of parts) if (part !== own) part.dispose();
  yield* exchange(transport, (peer) => [own, chunks[peer]], GATHER_TAG);

  decompress(message, sumScale, flat);
  for (const tensor of [flat, message, ...chunks]) tensor.dispose();
}

function* agreeOnMaximum(transport: CompressedTransport, values: Tensor): Generator<void, number> {
  const largest = keep(tensor([largestMagnitude(values)]));
  const agreement = transport.allReduce(largest, 'max');
  yield;
  agreement.wait();
  const maximum = largest.item();
  largest.dispose();
  return maximum;
}

/** Sends each other rank a tensor, and receives one from it. */
function* exchange(
  transport: CompressedTransport,
  tensorsFor: (peer: number) => readonly [sent: Tensor | undefined, received: Tensor | undefined],
  tag: number,
): Generator<void, void> {
  const { rank, worldSize } = transport;
  const works: Work[] = [];
  // The next rank first, so that no rank is everybody's first.
  for (let step = 1; step < worldSize; step += 1) {
    const peer = (rank + step) % worldSize;
    const [sent, received] = tensorsFor(peer);
    invariant(sent && received, `there is no chunk for rank ${peer}`);
    works.push(transport.receive(received, peer, tag), transport.send(sent, peer, tag));
  }
  yield;
  for (const work of works) work.wait();
}

/** The sum in fp32 of what every rank says, in the order of ranks. */
function addUp([first, ...others]: readonly Tensor[], sum: Tensor): void {
  invariant(first, 'there is nothing to add up');
  sum.copy_(first);
  for (const part of others) sum.add_(part);
}

/** One part for each rank, as equal as can be. */
function chunksOf(message: Tensor, ranks: number): readonly Tensor[] {
  return Array.from({ length: ranks }, (_, rank) => {
    const start = chunkStart(message.elements, rank, ranks);
    return keep(message.narrow(0, start, chunkStart(message.elements, rank + 1, ranks) - start));
  });
}

function chunkStart(elements: number, rank: number, ranks: number): number {
  return Math.floor((rank * elements) / ranks);
}
