import { invariant } from '../base/errors.js';
import { native } from '../native/native.js';
import { noGrad } from '../tensor/autograd.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import type { MessageBuffers } from './message-buffers.js';
import type { ProcessGroup, Reduction } from './process-group.js';
import type { Work } from './work.js';

/** What direct exchange is made of. */
export type Messenger = Pick<ProcessGroup, 'rank' | 'worldSize' | 'send' | 'receive'>;

/** Tags of their own, so that no other message is taken for one of these. */
const REDUCE_TAG = 0x7a01;
const GATHER_TAG = 0x7a02;
const EXCHANGE_TAG = 0x7a03;

/**
 * Collectives in which every rank sends each other one what that one needs, at once. A rank sends (N−1)/N of
 * the whole, the least that is possible; results land where they belong without a copy; and sums are made in the
 * order of ranks, so that they are the same in every run. Gloo through c10d has no reduce-scatter of its own: it
 * sums everything on every rank, in a copy.
 */
export function directReduceScatter(
  group: Messenger,
  buffers: MessageBuffers,
  output: Tensor,
  inputs: readonly Tensor[],
  reduction: Reduction,
): Work {
  const own = inputs[group.rank];
  invariant(own, `rank ${group.rank} has no input of its own`);
  const works: Work[] = [];
  const taken: Tensor[] = [];
  const arrived = new Map<number, Tensor>();
  for (const peer of peersOf(group)) {
    const buffer = buffers.take(output);
    const message = keep(buffer.narrow(0, 0, output.elements).view(output.shape));
    taken.push(buffer);
    arrived.set(peer, message);
    works.push(group.receive(message, peer, REDUCE_TAG));
  }
  for (const peer of peersOf(group)) {
    const input = inputs[peer];
    invariant(input, `there is no input for rank ${peer}`);
    works.push(group.send(input, peer, REDUCE_TAG));
  }
  const target = keep(output.alias());
  const source = keep(own.alias());
  const isInPlace = own === output;
  return once(() => {
    for (const work of works) work.wait();
    noGrad(() => scope(() => combine(target, isInPlace ? target : source, arrived, group, reduction)));
    for (const tensor of [...arrived.values(), target, source]) tensor.dispose();
    for (const buffer of taken) buffers.give(buffer);
  });
}

/** As `ProcessGroup.allGather`, by direct exchange. */
export function directAllGather(group: Messenger, output: Tensor, input: Tensor): Work {
  const flat = output.view([-1]);
  const part = (rank: number): Tensor => flat.narrow(0, rank * input.elements, input.elements);
  const works = peersOf(group).map((peer) => group.receive(part(peer), peer, GATHER_TAG));
  const own = part(group.rank);
  if (native.addressOf(own.handle) !== native.addressOf(input.handle))
    noGrad(() => own.copy_(input.view([-1])));
  works.push(...peersOf(group).map((peer) => group.send(own, peer, GATHER_TAG)));
  return once(() => {
    for (const work of works) work.wait();
  });
}

/** As `ProcessGroup.allToAll`, by direct exchange. */
export function directAllToAll(group: Messenger, output: Tensor, input: Tensor): Work {
  const length = input.elements / group.worldSize;
  const partOf = (tensor: Tensor, rank: number): Tensor => tensor.view([-1]).narrow(0, rank * length, length);
  const works = peersOf(group).flatMap((peer) => [
    group.receive(partOf(output, peer), peer, EXCHANGE_TAG),
    group.send(partOf(input, peer), peer, EXCHANGE_TAG),
  ]);
  noGrad(() => partOf(output, group.rank).copy_(partOf(input, group.rank)));
  return once(() => {
    for (const work of works) work.wait();
  });
}

/** As `ProcessGroup.allReduce`, as a reduce-scatter of slices, uneven if need be, and their gather. */
export function directAllReduce(
  group: Messenger,
  buffers: MessageBuffers,
  tensor: Tensor,
  reduction: Reduction,
): Work {
  const flat = keep(tensor.view([-1]));
  const bounds = Array.from({ length: group.worldSize + 1 }, (_, rank) =>
    Math.floor((rank * flat.elements) / group.worldSize),
  );
  const slices = bounds.slice(1).map((end, rank) => {
    const start = bounds[rank] ?? 0;
    return keep(flat.narrow(0, start, end - start));
  });
  const own = slices[group.rank];
  invariant(own, `rank ${group.rank} has no slice`);
  const scattered = directReduceScatter(group, buffers, own, slices, reduction);
  return once(() => {
    scattered.wait();
    const works = peersOf(group).flatMap((peer) => {
      const slice = slices[peer];
      return slice === undefined ? [] : [group.receive(slice, peer, GATHER_TAG)];
    });
    works.push(...peersOf(group).map((peer) => group.send(own, peer, GATHER_TAG)));
    for (const work of works) work.wait();
    for (const each of [flat, ...slices]) each.dispose();
  });
}

/** Adds up in the order of ranks: first what ranks below sent, then the own, then the rest. */
function combine(
  target: Tensor,
  own: Tensor,
  arrived: ReadonlyMap<number, Tensor>,
  { rank, worldSize }: Messenger,
  reduction: Reduction,
): void {
  const join = (into: Tensor, from: Tensor): Tensor =>
    reduction === 'max' ? into.copy_(into.maximum(from)) : into.add_(from);
  if (own !== target) target.copy_(own);
  const [first, ...below] = [...arrived].filter(([peer]) => peer < rank).map(([, message]) => message);
  if (first !== undefined) {
    for (const message of below) join(first, message);
    // a + b is b + a to the last bit.
    join(target, first);
  }
  for (const [peer, message] of arrived) if (peer > rank) join(target, message);
  if (reduction === 'mean') target.div_(worldSize);
}

/** The other ranks, the next one first: no rank is everybody's first. */
function peersOf({ rank, worldSize }: Messenger): readonly number[] {
  return Array.from({ length: worldSize - 1 }, (_, step) => (rank + 1 + step) % worldSize);
}

function once(finish: () => void): Work {
  let isDone = false;
  return {
    wait: () => {
      if (isDone) return;
      finish();
      isDone = true;
    },
  };
}
