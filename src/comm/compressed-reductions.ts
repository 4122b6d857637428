import { invariant } from '../base/errors.js';
import { tensor } from '../tensor/create.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, type Tensor } from '../tensor/tensor.js';
import { chunkStart } from './chunk.js';
import type { Codec, Coder } from './codec/codec.js';
import { addDecoded, decode, encoded, largestMagnitude } from './codec.js';
import type { ProcessGroup } from './process-group.js';
import { StagedWorks, type Stages } from './staged-work.js';
import { type Hosts, hostIndex, laneMembers } from './topology.js';
import type { Work } from './work.js';

/** What compressed reductions are made of. */
export type CompressedTransport = Pick<
  ProcessGroup,
  'rank' | 'worldSize' | 'allGather' | 'allToAll' | 'send' | 'receive'
>;

/** Tags of their own, so that no other message is taken for one of these. */
const SCATTER_TAG = 0x7b01;
const GATHER_TAG = 0x7b02;

/** What earlier messages of the same values lost, which the next ones say with theirs: fp32, updated in place. */
export interface MessageErrors {
  /** Like all the values that this rank encodes (1-bit Adam: worker error). */
  readonly worker: Tensor;
  /** Like the chunk that this rank owns, whose sum it encodes (server error). Not for a reduce-scatter. */
  readonly server?: Tensor;
}

/**
 * Sums over the ranks that travel as a codec's messages and are made in fp32. Rank r owns the r-th chunk of the values:
 *
 * 1. the ranks agree on the largest magnitude, where the codec needs it;
 * 2. every rank encodes all its values and sends each other rank the chunk that that one owns;
 * 3. the owner adds what the ranks say in the order of ranks, in fp32. A reduce-scatter ends here;
 * 4. the owner encodes the sum and sends it to all others, and everybody decodes.
 *
 * With error feedback, what the messages of steps 2 and 4 lost is kept by those who sent them, and added to what they
 * encode the next time.
 *
 * The result of an all-reduce is the same on all ranks to the last bit. Where chunks end has no influence on either kind
 * of sum in 16 bits; codes with blocks begin one with every chunk.
 *
 * Messages travel as any other collective of the group does, and beside this thread where it does so; compression and
 * sums need this one (see `StagedWorks`).
 */
export class CompressedReductions {
  readonly #transport: CompressedTransport;
  readonly #works = new StagedWorks();

  constructor(transport: CompressedTransport) {
    this.#transport = transport;
  }

  /**
   * Starts the sum of flat fp32 values over all ranks, in place.
   *
   * @param errors what the codec asks for by `feedsBack`; without it everything that is lost stays lost
   */
  allReduce(values: Tensor, codec: Codec, errors?: Required<MessageErrors>): Work {
    return this.#works.start(allReduce(this.#transport, values, codec, errors));
  }

  /**
   * Starts the sum over all ranks of what each has for this one, which becomes row `rank` of the values; the
   * other rows may be lost.
   *
   * @param values fp32, a row for each rank
   * @param errors of the shape of the values
   */
  reduceScatter(values: Tensor, codec: Codec, errors?: MessageErrors): Work {
    return this.#works.start(reduceScatter(this.#transport, values, codec, errors));
  }

  /**
   * As `reduceScatter`, where ranks share hosts: those of a host add up what they have for every rank of their lane (the
   * ranks at one position on each host) in full precision, and only these sums are encoded, on their way between
   * hosts (ZeRO++, arXiv 2306.10209). What an owner has itself and what its host adds to it is rounded nowhere.
   *
   * @param hosts the ranks of each host, equally many
   */
  reduceScatterBetweenHosts(values: Tensor, codec: Codec, hosts: Hosts): Work {
    return this.#works.start(reduceScatterBetweenHosts(this.#transport, values, codec, hosts));
  }
}

function* allReduce(
  transport: CompressedTransport,
  values: Tensor,
  codec: Codec,
  errors: Required<MessageErrors> | undefined,
): Stages {
  const { rank, worldSize } = transport;
  const chunks = chunksOf(values.view([-1]), worldSize).map(keep);
  const sum = at(chunks, rank);
  const server = errors && keep(errors.server.alias());
  const lost = errors && chunksOf(errors.worker.view([-1]), worldSize).map(keep);
  const maximum = yield* agreedMaximum(transport, values, codec);
  const coder = codec.coder(maximum);
  const messages = new Messages(chunks, codec);
  encodeAll(chunks, lost, messages, coder);
  yield* addUp(transport, messages, sum, coder);

  const sumCoder = codec.coder(maximum * worldSize);
  const own = messages.of(rank);
  if (server === undefined) sumCoder.encode(sum, own);
  else encodeWithError(sum, server, sumCoder, own);
  const gathered = transport.allGather(messages.all, messages.row(rank));
  yield;
  gathered.wait();
  for (const [peer, chunk] of chunks.entries()) decode(messages.of(peer), chunk, sumCoder);
  server?.dispose();
  messages.dispose();
  for (const each of [...chunks, ...(lost ?? [])]) each.dispose();
}

function* reduceScatter(
  transport: CompressedTransport,
  values: Tensor,
  codec: Codec,
  errors: MessageErrors | undefined,
): Stages {
  const { rank, worldSize } = transport;
  const rowsOf = (matrix: Tensor) => Array.from({ length: worldSize }, (_, row) => matrix.select(0, row));
  const rows = rowsOf(values).map(keep);
  const lost = errors && rowsOf(errors.worker).map(keep);
  const coder = codec.coder(yield* agreedMaximum(transport, values, codec));
  const messages = new Messages(rows, codec);
  encodeAll(rows, lost, messages, coder);
  yield* addUp(transport, messages, at(rows, rank), coder);
  messages.dispose();
  for (const each of [...rows, ...(lost ?? [])]) each.dispose();
}

function* reduceScatterBetweenHosts(
  transport: CompressedTransport,
  values: Tensor,
  codec: Codec,
  hosts: Hosts,
): Stages {
  const { rank } = transport;
  const rows = Array.from({ length: transport.worldSize }, (_, row) => keep(values.select(0, row)));
  const neighbours = hosts[hostIndex(hosts, rank)] ?? [];
  const lane = neighbours.indexOf(rank);

  const inside = neighbours.flatMap((peer, peerLane) =>
    peer === rank
      ? []
      : laneMembers(hosts, lane).map((owner, host) => {
          const sent = at(rows, at(laneMembers(hosts, peerLane), host));
          return { peer, owner, sent, received: keep(empty(sent.shape, { device: sent.device })) };
        }),
  );
  yield* exchangeAll(transport, inside, SCATTER_TAG);
  for (const { owner, received } of inside) {
    at(rows, owner).add_(received);
    received.dispose();
  }

  const coder = codec.coder(0);
  const between = laneMembers(hosts, lane).flatMap((peer) => {
    if (peer === rank) return [];
    const sent = keep(encoded(at(rows, peer), codec, coder));
    return [{ peer, sent, received: keep(empty(sent.shape, { dtype: sent.dtype, device: sent.device })) }];
  });
  yield* exchangeAll(transport, between, GATHER_TAG);
  for (const { received } of between) addDecoded(received, at(rows, rank), coder);
  for (const { sent, received } of between) for (const each of [sent, received]) each.dispose();
  for (const row of rows) row.dispose();
}

/** One message of each rank, one after the other, as collectives want them: in as much memory as the longest needs. */
class Messages {
  readonly all: Tensor;
  readonly #codec: Codec;
  readonly #chunks: readonly Tensor[];

  constructor(chunks: readonly Tensor[], codec: Codec) {
    const longest = Math.max(...chunks.map(({ elements }) => codec.messageElements(elements)));
    const device = chunks[0]?.device ?? 'cpu';
    this.all = keep(empty([chunks.length, longest], { dtype: codec.dtype, device }));
    this.#codec = codec;
    this.#chunks = chunks;
  }

  /** With what is left over of the longest. */
  row(rank: number): Tensor {
    return this.all.select(0, rank);
  }

  of(rank: number): Tensor {
    return this.row(rank).narrow(0, 0, this.#codec.messageElements(at(this.#chunks, rank).elements));
  }

  dispose(): void {
    this.all.dispose();
  }
}

/** Encodes each chunk; with errors, what these say is said too, and becomes what is lost now. */
function encodeAll(
  chunks: readonly Tensor[],
  errors: readonly Tensor[] | undefined,
  messages: Messages,
  coder: Coder,
): void {
  for (const [index, chunk] of chunks.entries()) {
    if (errors === undefined) coder.encode(chunk, messages.of(index));
    else encodeWithError(chunk, at(errors, index), coder, messages.of(index));
  }
}

/** Encodes values with what was lost before, and keeps what is lost now. */
function encodeWithError(values: Tensor, error: Tensor, coder: Coder, message: Tensor): void {
  coder.encode(error.add_(values), message);
  addDecoded(message, error, coder, -1);
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

/** Gives the others their messages and makes `sum` that in fp32 of what every rank says, in the order of ranks. */
function* addUp(transport: CompressedTransport, messages: Messages, sum: Tensor, coder: Coder): Stages {
  const { rank, worldSize } = transport;
  const { shape, dtype, device } = messages.all;
  const said = keep(empty(shape, { dtype, device }));
  const exchanged = transport.allToAll(said, messages.all);
  yield;
  exchanged.wait();
  const { elements } = messages.of(rank);
  for (let peer = 0; peer < worldSize; peer += 1) {
    const message = said.select(0, peer).narrow(0, 0, elements);
    if (peer === 0) decode(message, sum, coder);
    else addDecoded(message, sum, coder);
  }
  said.dispose();
}

/** Sends tensors and receives others, those of one peer in their order. */
function* exchangeAll(
  transport: Pick<CompressedTransport, 'send' | 'receive'>,
  messages: readonly { readonly peer: number; readonly sent: Tensor; readonly received: Tensor }[],
  tag: number,
): Stages {
  const works = messages.flatMap(({ peer, sent, received }) => [
    transport.receive(received, peer, tag),
    transport.send(sent, peer, tag),
  ]);
  yield;
  for (const work of works) work.wait();
}

/** One part for each rank, as equal as can be. */
export function chunksOf(flat: Tensor, ranks: number): readonly Tensor[] {
  return Array.from({ length: ranks }, (_, rank) => {
    const start = chunkStart(flat.elements, rank, ranks);
    return flat.narrow(0, start, chunkStart(flat.elements, rank + 1, ranks) - start);
  });
}

function at<Thing>(things: readonly Thing[], rank: number): Thing {
  const thing = things[rank];
  invariant(thing !== undefined, `there is nothing for rank ${rank}`);
  return thing;
}
