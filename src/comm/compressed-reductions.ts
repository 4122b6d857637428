import { invariant } from '../base/errors.js';
import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import { chunkStart } from './chunk.js';
import { type Codec, compress, decompress, largestMagnitude, multiply } from './codec.js';
import type { ProcessGroup } from './process-group.js';
import type { Work } from './work.js';

/** What compressed reductions are made of. */
export type CompressedTransport = Pick<ProcessGroup, 'rank' | 'worldSize' | 'allGather' | 'send' | 'receive'>;

/** Tags of their own, so that no other message is taken for one of these. */
const SCATTER_TAG = 0x7b01;
const GATHER_TAG = 0x7b02;

/**
 * Sums over the ranks that travel in 16 bits and are made in fp32. Rank r owns the r-th chunk of the values:
 *
 * 1. the ranks agree on the largest magnitude, where the codec needs it;
 * 2. every rank compresses all its values and sends each other rank the chunk that that one owns;
 * 3. the owner adds what the ranks say in the order of ranks, in fp32. A reduce-scatter ends here;
 * 4. the owner compresses the sum and sends it to all others, and everybody decompresses.
 *
 * The result of an all-reduce is the same on all ranks to the last bit, and where chunks end has no influence on
 * either kind of sum.
 *
 * [Note: overlap] Messages travel on the transport's threads; compression and sums need this one. A reduction
 * therefore goes on by one stage whenever a later one is started, when what it waits for has had a backward's
 * time to arrive, and runs to its end in `wait`. All ranks start and wait in one order, and so meet.
 */
export class CompressedReductions {
  readonly #transport: CompressedTransport;
  /** Started and not done, in the order of their starts. */
  readonly #pending = new Set<Stages>();

  constructor(transport: CompressedTransport) {
    this.#transport = transport;
  }

  /** Starts the sum of flat fp32 values over all ranks, in place. */
  allReduce(values: Tensor, codec: Codec): Work {
    return this.#start(allReduce(this.#transport, values, codec));
  }

  /**
   * Starts the sum over all ranks of what each has for this one, which becomes row `rank` of the values; the
   * other rows are lost.
   *
   * @param values fp32, a row for each rank
   */
  reduceScatter(values: Tensor, codec: Codec): Work {
    return this.#start(reduceScatter(this.#transport, values, codec));
  }

  #start(reduction: Stages): Work {
    this.#advance();
    this.#pending.add(reduction);
    this.#advance(reduction);
    return {
      wait: () => {
        while (this.#pending.has(reduction)) this.#advance();
      },
    };
  }

  /** Takes every pending reduction, or this one, one stage further. */
  #advance(...some: readonly Stages[]): void {
    for (const reduction of some.length > 0 ? some : [...this.#pending]) {
      const { done } = noGrad(() => scope(() => reduction.next()));
      if (done === true) this.#pending.delete(reduction);
    }
  }
}

/** Something that yields where it has to wait for other ranks. */
type Stages<Result = void> = Generator<undefined, Result>;

function* allReduce(transport: CompressedTransport, values: Tensor, codec: Codec): Stages {
  const { rank, worldSize } = transport;
  const flat = keep(values.view([-1]));
  const maximum = yield* agreedMaximum(transport, flat, codec);
  const scale = codec.scaleFor(maximum);
  const message = keep(compressed(flat, scale, codec));
  const chunks = chunksOf(message, worldSize).map(keep);
  const own = chunks[rank];
  invariant(own, `rank ${rank} owns no chunk`);
  const sum = keep(flat.narrow(0, chunkStart(flat.elements, rank, worldSize), own.elements));
  yield* addUp(transport, chunks, sum);

  const sumScale = codec.scaleFor(maximum * worldSize);
  compress(sum, sumScale / scale, own);
  yield* exchange(transport, (peer) => [own, chunks[peer]], GATHER_TAG);
  decompress(message, sumScale, flat);
  for (const each of [flat, message, sum, ...chunks]) each.dispose();
}

function* reduceScatter(transport: CompressedTransport, values: Tensor, codec: Codec): Stages {
  const { rank, worldSize } = transport;
  const rows = keep(values.alias());
  const scale = codec.scaleFor(yield* agreedMaximum(transport, rows, codec));
  const message = keep(compressed(rows, scale, codec));
  const chunks = Array.from({ length: worldSize }, (_, peer) => keep(message.select(0, peer)));
  const sum = keep(rows.select(0, rank));
  yield* addUp(transport, chunks, sum);
  multiply(sum, 1 / scale);
  for (const each of [rows, message, sum, ...chunks]) each.dispose();
}

/** The largest magnitude on any rank, infinite where one is not finite; 0 where the codec does not ask. */
function* agreedMaximum(
  transport: CompressedTransport,
  values: Tensor,
  { usesMaximum }: Codec,
): Stages<number> {
  if (!usesMaximum) return 0;
  const largest = keep(tensor([largestMagnitude(values)]));
  const all = keep(empty([transport.worldSize]));
  const gathered = transport.allGather(all, largest);
  yield;
  gathered.wait();
  const maximum = Math.max(...all.toArray());
  for (const each of [largest, all]) each.dispose();
  return maximum;
}

/** Sends the others their chunks and makes `sum` that in fp32 of what every rank says, in the order of ranks. */
function* addUp(transport: CompressedTransport, chunks: readonly Tensor[], sum: Tensor): Stages {
  const { rank } = transport;
  const own = chunks[rank];
  invariant(own, `rank ${rank} owns no chunk`);
  const parts = chunks.map((_, peer) =>
    peer === rank ? own : keep(empty(own.shape, { dtype: own.dtype, device: own.device })),
  );
  yield* exchange(transport, (peer) => [chunks[peer], parts[peer]], SCATTER_TAG);
  for (const [peer, part] of parts.entries()) {
    if (peer === 0) sum.copy_(part);
    else addInPieces(part, sum);
    if (peer !== rank) part.dispose();
  }
}

/** libtorch converts the elements to fp32 before it adds them: so many at a time, which takes 64 KiB. */
const PIECE = 2 ** 14;

function addInPieces(part: Tensor, sum: Tensor): void {
  for (let start = 0; start < part.elements; start += PIECE) {
    const elements = Math.min(PIECE, part.elements - start);
    sum.narrow(0, start, elements).add_(part.narrow(0, start, elements));
  }
}

/** Sends each other rank a tensor, and receives one from it. */
function* exchange(
  transport: CompressedTransport,
  tensorsFor: (peer: number) => readonly [sent: Tensor | undefined, received: Tensor | undefined],
  tag: number,
): Stages {
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

function compressed(values: Tensor, scale: number, { dtype }: Codec): Tensor {
  const message = empty(values.shape, { dtype, device: values.device });
  compress(values, scale, message);
  return message;
}

/** One part for each rank, as equal as can be. */
function chunksOf(message: Tensor, ranks: number): readonly Tensor[] {
  return Array.from({ length: ranks }, (_, rank) => {
    const start = chunkStart(message.elements, rank, ranks);
    return message.narrow(0, start, chunkStart(message.elements, rank + 1, ranks) - start);
  });
}
