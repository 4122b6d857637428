import type { Tensor } from '../tensor/tensor.js';
import type { Arrival, ElementRange, Plan, Round } from './algorithm/plan.js';
import type { MessageBuffers } from './message-buffers.js';
import type { PlanMemory } from './plan-memory.js';
import type { ProcessGroup, Reduction } from './process-group.js';
import type { Stages } from './staged-work.js';
import type { Work } from './work.js';

/** What executes a plan. */
export interface PlanRun {
  readonly plan: Plan;
  readonly transport: Pick<ProcessGroup, 'send' | 'receive'>;
  readonly memory: PlanMemory;
  /** For messages that are combined. */
  readonly buffers: MessageBuffers;
  readonly reduction: Reduction;
  /** Of all its messages; no other collective that may be under way has it. */
  readonly tag: number;
  /** What the elements are. */
  readonly like: Pick<Tensor, 'dtype' | 'device'>;
}

/** A message that is awaited. */
interface Awaited {
  readonly arrival: Arrival;
  readonly work: Work;
  /** Absent where it arrives in its place. */
  readonly buffer?: Tensor;
}

/**
 * Executes a rank's plan, whatever algorithm made it: a stage for each round. What the next round receives is asked
 * for before this one is awaited, so that its sender need not ask first whether it may send. (A copy that is to arrive
 * holds sums of what this rank has sent from the same place, and so cannot come too early.)
 */
export function* runPlan(run: PlanRun): Stages {
  const { plan, transport, memory, tag } = run;
  let awaited = receive(run, plan[0]);
  for (const [index, { sends }] of plan.entries()) {
    const sent = sends.map((range) => transport.send(memory.view(range), range.peer, tag));
    const next = receive(run, plan[index + 1]);
    yield;
    for (const { work } of awaited) work.wait();
    for (const work of sent) work.wait();
    for (const range of sends) memory.leave(range);
    combineArrivals(run, awaited);
    awaited = next;
  }
}

function receive(
  { memory, transport, buffers, like, tag }: PlanRun,
  round: Round | undefined,
): readonly Awaited[] {
  return (round?.receives ?? []).map((arrival) => {
    if (arrival.effect === 'copy')
      return { arrival, work: transport.receive(memory.view(arrival), arrival.peer, tag) };
    const elements = arrival.end - arrival.start;
    const buffer = buffers.take({ dtype: like.dtype, device: like.device, elements });
    return { arrival, work: transport.receive(buffer.narrow(0, 0, elements), arrival.peer, tag), buffer };
  });
}

/** All messages for one range at once. */
function combineArrivals({ memory, reduction }: PlanRun, awaited: readonly Awaited[]): void {
  const ranges = new Map<number, { readonly range: ElementRange; readonly buffers: Tensor[] }>();
  for (const { arrival, buffer } of awaited) {
    if (buffer === undefined) continue;
    const found = ranges.get(arrival.start);
    if (found === undefined) ranges.set(arrival.start, { range: arrival, buffers: [buffer] });
    else found.buffers.push(buffer);
  }
  for (const { range, buffers } of ranges.values()) memory.combine(range, buffers, reduction);
}
