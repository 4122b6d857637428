import { invariant } from '../base/errors.js';
import { keep, type Tensor } from '../tensor/tensor.js';
import { type ElementRange, type Plan, partOf, type Share } from './algorithm/plan.js';
import { ringAllGather, ringAllReduce, ringReduceScatter } from './algorithm/ring.js';
import { type PlanMemory, placeOwn, ScatterMemory, WholeMemory } from './plan-memory.js';
import type { Reduction } from './process-group.js';
import { type PlanRun, runPlan } from './run-plan.js';
import type { SharedMemory } from './shared-memory.js';
import type { Stages } from './staged-work.js';
import { type Hosts, hostIndex, laneMembers } from './topology.js';

/** What a hierarchical collective needs whose inner stages are in shared memory. */
export interface HierarchicalRun extends Pick<PlanRun, 'transport' | 'buffers' | 'tag'> {
  /** Of the ranks of this host. */
  readonly shared: SharedMemory;
  /** Regular ones: as many ranks on each, in a row. */
  readonly hosts: Hosts;
  readonly rank: number;
}

/** As `hierarchical` of all ranks; the sums over a host are made in its memory. */
export function* hierarchicalAllReduce(run: HierarchicalRun, tensor: Tensor, reduction: Reduction): Stages {
  const { shared, hosts, rank } = run;
  const flat = keep(tensor.view([-1]));
  const slice = Math.floor(flat.elements / shared.worldSize);
  const even = slice * shared.worldSize;
  const slices = Array.from({ length: shared.worldSize }, (_, lane) =>
    keep(flat.narrow(0, lane * slice, slice)),
  );
  const own = slices[shared.rank];
  invariant(own, 'a rank has a lane');
  // What cannot be divided is summed by everybody, and is the last lane's between hosts.
  const rest = keep(flat.narrow(0, even, flat.elements - even));
  const summed = [shared.reduceScatter(own, slices, reduction), shared.allReduce(rest, reduction)];
  yield;
  for (const work of summed) work.wait();

  const plan = sumBetweenHosts(hosts, rank, flat.elements);
  yield* between(run, plan, flat, new WholeMemory(flat, run.buffers), reduction);

  const gathered = [
    shared.allGather(flat.narrow(0, 0, even), own),
    shared.broadcast(rest, shared.worldSize - 1),
  ];
  yield;
  for (const work of gathered) work.wait();
  for (const each of [flat, rest, ...slices]) each.dispose();
}

/** What travels in between: the lane of this rank, the last of which has what cannot be divided. */
export function sumBetweenHosts(hosts: Hosts, rank: number, elements: number): Plan {
  const host = hosts[hostIndex(hosts, rank)] ?? [];
  const index = host.indexOf(rank);
  const slice = Math.floor(elements / host.length);
  const end = index === host.length - 1 ? elements : (index + 1) * slice;
  const lane: ElementRange = { start: index * slice, end };
  const shares = hosts.map((_, of) => [partOf(lane, of, hosts.length)]);
  return ringAllReduce(laneMembers(hosts, index), rank, shares);
}

/** As `hierarchical`; the parts of each host's ranks are first summed over this one. */
export function* hierarchicalReduceScatter(
  run: HierarchicalRun,
  output: Tensor,
  inputs: readonly Tensor[],
  reduction: Reduction,
): Stages {
  const { shared, hosts, rank, buffers } = run;
  const taken: Tensor[] = [];
  const sums = hosts.map((host) => {
    if (host.includes(rank)) return output;
    const buffer = buffers.take(output);
    taken.push(buffer);
    return keep(buffer.narrow(0, 0, output.elements).view(output.shape));
  });
  const works = hosts.map((host, index) => {
    const sum = sums[index];
    const parts = host.flatMap((member) => inputs[member] ?? []);
    invariant(sum, `there is no place for the sum for host ${index}`);
    return shared.reduceScatter(sum, parts, reduction);
  });
  const result = keep(output.alias());
  yield;
  for (const work of works) work.wait();

  const { elements } = result;
  const own = hostIndex(hosts, rank);
  const all = sums.map((sum, host) => (host === own ? result : sum));
  const shares = hosts.map((_, host): Share => [{ start: host * elements, end: (host + 1) * elements }]);
  const plan = ringReduceScatter(laneMembers(hosts, shared.rank), rank, shares);
  yield* between(run, plan, result, new ScatterMemory(result, all, own, buffers), reduction);
  for (const each of all) each.dispose();
  for (const buffer of taken) buffers.give(buffer);
}

/** As `hierarchical`: between the hosts first, so that each part crosses to a host once. */
export function* hierarchicalAllGather(run: HierarchicalRun, output: Tensor, input: Tensor): Stages {
  const { shared, hosts, rank } = run;
  placeOwn(output, input, rank);
  const part = input.elements;
  const flat = keep(output.view([-1]));
  const partOfRank = (of: number): ElementRange => ({ start: of * part, end: (of + 1) * part });
  const shares = hosts.map((host): Share => host.slice(shared.rank, shared.rank + 1).map(partOfRank));
  const plan = ringAllGather(laneMembers(hosts, shared.rank), rank, shares);
  yield* between(run, plan, flat, new WholeMemory(flat, run.buffers), 'sum');

  const works = hosts.map(([first = 0]) => {
    const ofHost = flat.narrow(0, first * part, shared.worldSize * part);
    return shared.allGather(ofHost, ofHost.narrow(0, shared.rank * part, part));
  });
  yield;
  for (const work of works) work.wait();
  flat.dispose();
}

function* between(
  { transport, buffers, tag }: HierarchicalRun,
  plan: Plan,
  like: Tensor,
  memory: PlanMemory,
  reduction: Reduction,
): Stages {
  yield* runPlan({ plan, transport, memory, buffers, reduction, tag, like });
  memory.dispose();
}
