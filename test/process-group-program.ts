import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { TrainyardError } from '../src/base/errors.js';
import { ALGORITHM_NAMES } from '../src/comm/algorithm.js';
import { connectExchange, type ExchangeWish } from '../src/comm/connect-exchange.js';
import { axisRanks, MESH_AXES, meshOf } from '../src/comm/mesh.js';
import { GlooGroup } from '../src/comm/process-group/gloo.js';
import { SingleGroup } from '../src/comm/process-group/single.js';
import type { ProcessGroup } from '../src/comm/process-group.js';
import { meetRanks, type Ranks, type RendezvousOptions, rendezvous } from '../src/comm/rendezvous.js';
import { type Hosts, hostsOfSize } from '../src/comm/topology.js';
import { collectTensors } from '../src/engine/collect-tensors.js';
import type { NativeObject } from '../src/native/binding.js';
import { native } from '../src/native/native.js';
import { tensor } from '../src/tensor/create.js';
import type { DType } from '../src/tensor/dtype.js';
import { zeros } from '../src/tensor/generated/functions.js';
import { scope, type Tensor } from '../src/tensor/tensor.js';
import { assertSameValues } from './same-values.js';

/**
 * One rank of the tests of process groups: `node process-group-program.js SCENARIO RANK WORLD PORT TIMEOUT_MS`.
 * Ends with 0 when all is as it should be; a TrainyardError goes to standard output as JSON, with exit code 3.
 */
const [scenario = '', rankText = '0', worldText = '1', port = '0', timeoutMs = '20000'] =
  process.argv.slice(2);
const rank = Number(rankText);
const worldSize = Number(worldText);

const options: RendezvousOptions = {
  rank,
  worldSize,
  masterAddress: '127.0.0.1',
  masterPort: Number(port),
  storeIsHosted: false,
  runId: 'test/0',
  networkInterface: 'lo',
  timeoutMs: Number(timeoutMs),
};

/** By an algorithm, on the hosts that are given or the one that there is. */
function exchanging(exchange: Partial<ExchangeWish>): RendezvousOptions {
  return {
    ...options,
    exchange: {
      algorithm: 'auto',
      hostName: 'here',
      localWorldSize: worldSize,
      inOrder: false,
      cores: availableParallelism(),
      threadsPerRank: 1,
      ...exchange,
    },
  };
}

const SHARED = exchanging({ algorithm: 'shared-memory' });

const FLOATING: readonly DType[] = ['float32', 'float64', 'float16', 'bfloat16'];
const DTYPES: readonly DType[] = [...FLOATING, 'int64'];
const SIZES = [0, 1, 7, 4099];

/** How many elements are exchanged in every dtype, in two of them, and in memory of the group's own. */
interface Sizes {
  readonly every: readonly number[];
  readonly large: readonly number[];
  readonly allocated: readonly number[];
}

/** Past what any transport takes for a small message, and past what is written by way of the cache. */
const ALL_SIZES: Sizes = { every: SIZES, large: [140_003], allocated: [600_001, 100, 140_003] };

/** Messages are alike whatever their length. */
const MESSAGE_SIZES: Sizes = { every: SIZES, large: [], allocated: [100, 7001] };

/** Hosts of one rank, of as many as the others or not, in a row or not. */
const LAYOUTS: Readonly<Record<number, readonly Hosts[]>> = {
  1: [[[0]]],
  2: [[[0], [1]], [[0, 1]]],
  3: [[[0, 1], [2]]],
  4: [
    [
      [0, 1],
      [2, 3],
    ],
    [
      [0, 2],
      [1, 3],
    ],
  ],
  5: [
    [
      [0, 1, 2],
      [3, 4],
    ],
  ],
  6: [
    [
      [0, 1, 2],
      [3, 4, 5],
    ],
  ],
  7: [
    [
      [0, 1, 2],
      [3, 4],
      [5, 6],
    ],
  ],
};

const scenarios: Readonly<Record<string, () => void>> = {
  single: () => conform(new SingleGroup()),
  gloo: () => conform(glooGroup()),
  rendezvous: () => conform(rendezvous(options)),
  'shared memory': () => conform(rendezvous(SHARED)),
  'shared memory, a thread beside': () =>
    conform(rendezvous(exchanging({ algorithm: 'shared-memory', cores: 2 * worldSize }))),
  'every algorithm': () => conformEvery(),
  'dead peer': () => deadPeer(rendezvous(options)),
  'dead peer in shared memory': () => deadPeer(rendezvous(SHARED)),
  'absent peer': () => absentPeer(rendezvous(options)),
  'absent peer in shared memory': () => absentPeer(rendezvous(SHARED)),
  'other operation': () => {
    const group = rendezvous(SHARED);
    if (rank === 1) group.broadcast(zeros([8]), 0).wait();
    else group.allReduce(zeros([9]), 'mean').wait();
  },
  'dead peer by ring': () => deadPeer(rendezvous(exchanging({ algorithm: 'ring' }))),
  'dead peer by hierarchical': () =>
    deadPeer(rendezvous(exchanging({ algorithm: 'hierarchical', hosts: hostsOfSize(worldSize, 2) }))),
  'absent peer by ring': () => absentPeer(rendezvous(exchanging({ algorithm: 'ring' }))),
  'hierarchical on one host': () => rendezvous(exchanging({ algorithm: 'hierarchical' })).close(),
  'along the axes of a mesh': () => conformAxes(meetRanks(options)),
  'along the axes of a mesh, in shared memory': () => conformAxes(meetRanks(exchanging({}))),
  meet: () => rendezvous(options).close(),
  'slow save': () => save(() => sleep(1.5 * options.timeoutMs)),
  'dead saver': () => save(() => process.kill(process.pid, 'SIGKILL')),
};

function deadPeer(group: ProcessGroup): void {
  if (rank === worldSize - 1) process.kill(process.pid, 'SIGKILL');
  group.allReduce(tensor(new Float32Array(1000)), 'sum').wait();
}

/** The last rank is alive and connected, but does something else until its parent ends it. */
function absentPeer(group: ProcessGroup): void {
  if (rank === worldSize - 1) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
  group.allReduce(tensor(new Float32Array(8)), 'mean').wait();
}

try {
  const body = scenarios[scenario];
  assert(body !== undefined, `no scenario ${scenario}`);
  body();
} catch (error) {
  if (!(error instanceof TrainyardError)) throw error;
  process.stdout.write(JSON.stringify({ code: error.code, ...error.report }));
  process.exitCode = 3;
}

/** Lets rank 0 save two tensors that both ranks have a part of, and do something else after each. */
function save(pause: () => void): void {
  // The ranks may take longer to come than they may take later on.
  const group = rendezvous({ ...options, timeoutMs: 60_000 }).withDeadline(options.timeoutMs);
  const tensors = ['first', 'second'].map((name, index) => ({
    name,
    dtype: 'float32' as const,
    shape: [3],
    read: () => {
      const part = tensor(Float32Array.of(rank, index, 1));
      group.allReduce(part, 'sum').wait();
      return part;
    },
  }));
  const written = collectTensors(group, tensors, (sources) =>
    sources.map((source) => {
      assert('write' in source);
      const bytes = new Float32Array(3);
      source.write(new Uint8Array(bytes.buffer));
      pause();
      return [...bytes];
    }),
  );
  const expected = [
    [1, 0, 2],
    [1, 2, 2],
  ];
  assert.deepEqual(written, rank === 0 ? expected : undefined);
  group.barrier().wait();
  group.close();
}

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/** Gloo for any world size, one included, where `rendezvous` would take the group that does nothing. */
function glooGroup(): ProcessGroup {
  const store = openStore();
  return new GlooGroup(store, 'conformance', options, () => native.closeStore(store));
}

function openStore(): NativeObject {
  const isServer = rank === 0;
  return native.createStore({ host: '127.0.0.1', port: Number(port), isServer, timeoutMs: 20_000 });
}

/** Every algorithm of our own in each layout of these ranks, over one transport. */
function conformEvery(): void {
  const store = openStore();
  const gloo = new GlooGroup(store, 'conformance', options, () => native.closeStore(store));
  const before = native.liveHandles();
  for (const [index, hosts] of (LAYOUTS[worldSize] ?? []).entries()) {
    for (const algorithm of [...ALGORITHM_NAMES, 'auto'] as const) {
      // Where one host has all ranks, hierarchical is refused and "auto" is shared memory.
      if (hosts.length === 1 && (algorithm === 'hierarchical' || algorithm === 'auto')) continue;
      const { exchange } = exchanging({ algorithm, hosts });
      assert(exchange);
      const place = { ...options, ...exchange };
      const group = connectExchange(store, `${algorithm}/${index}`, place, keptOpen(gloo));
      conformOpen(group, MESSAGE_SIZES);
    }
  }
  gloo.close();
  assert.equal(native.liveHandles(), before, 'tensors leaked');
}

/** Groups of some of the ranks, at work beside each other: in each the ranks are numbered along its axis. */
function conformAxes({ world, among }: Ranks): void {
  const mesh = meshOf({ pipeline: 2, tensor: 2 }, worldSize);
  const groups = MESH_AXES.map((axis) => ({
    members: axisRanks(mesh, rank, axis),
    group: among(axis, axisRanks(mesh, rank, axis)),
  }));
  scope(() => {
    const sums = groups.map(({ group }) => {
      const values = valuesOf(rank, 4099, 'float32');
      return { values, work: group.allReduce(values, 'sum') };
    });
    for (const [index, { group, members }] of groups.entries()) {
      assert.equal(group.worldSize, members.length);
      assert.equal(group.rank, members.indexOf(rank));
      const all = zeros([members.length]);
      group.allGather(all, tensor(Float32Array.of(rank))).wait();
      assert.deepEqual([...all.toArray()], members);
      sums[index]?.work.wait();
      const expected = combine(members, 4099, (left, right) => left + right);
      assertSameValues(sums[index]?.values.toArray() ?? [], expected);
      const peer = 1 - group.rank;
      if (members.length !== 2) continue;
      const message = zeros([1]);
      const works = [group.send(tensor(Float32Array.of(rank)), peer), group.receive(message, peer)];
      for (const work of works) work.wait();
      assert.equal(message.item(), members[peer]);
    }
  });
  for (const { group } of groups) group.close();
  world.barrier().wait();
  world.close();
}

/** The same group for the next. */
function keptOpen(open: ProcessGroup): ProcessGroup {
  return new Proxy(open, {
    get: (target, key) => {
      if (key === 'close') return () => {};
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** What every process group must do. */
function conform(group: ProcessGroup): void {
  const before = native.liveHandles();
  conformOpen(group, ALL_SIZES);
  assert.equal(native.liveHandles(), before, 'tensors leaked');
}

function conformOpen(group: ProcessGroup, sizes: Sizes): void {
  assert.equal(group.rank, rank);
  assert.equal(group.worldSize, worldSize);
  for (const dtype of DTYPES) {
    for (const size of sizes.every) scope(() => conformCollectives(group, dtype, size));
  }
  for (const dtype of ['float32', 'bfloat16'] as const) {
    for (const size of sizes.large) scope(() => conformCollectives(group, dtype, size));
  }
  for (const size of sizes.allocated) scope(() => conformAllocated(group, size));
  scope(() => conformMessages(group));
  scope(() => conformConcurrency(group));
  scope(() => conformGradients(group));
  conformRefusals(group);
  group.barrier().wait();
  group.close();
  group.close();
}

function conformCollectives(group: ProcessGroup, dtype: DType, size: number): void {
  const ranks = Array.from({ length: worldSize }, (_, other) => other);
  const name = `${dtype} × ${size}`;

  const sum = valuesOf(rank, size, dtype);
  const work = group.allReduce(sum, 'sum');
  work.wait();
  work.wait();
  assertSameValues(
    sum.toArray(),
    combine(ranks, size, (left, right) => left + right),
    `sum of ${name}`,
  );

  const largest = valuesOf(rank, size, dtype);
  group.allReduce(largest, 'max').wait();
  assertSameValues(largest.toArray(), combine(ranks, size, Math.max), `max of ${name}`);

  if (FLOATING.includes(dtype)) {
    const mean = valuesOf(rank, size, dtype);
    group.allReduce(mean, 'mean').wait();
    const exact = combine(ranks, size, (left, right) => left + right).map((value) => value / worldSize);
    assert(closeTo(mean.toArray(), exact, dtype), `mean of ${name}`);
  }

  for (const root of ranks) {
    const sent = valuesOf(rank, size, dtype);
    group.broadcast(sent, root).wait();
    assertSameValues(sent.toArray(), elements(root, size), `broadcast of ${name} from ${root}`);
  }

  const gathered = zeros([worldSize * size], { dtype });
  group.allGather(gathered, valuesOf(rank, size, dtype)).wait();
  assertSameValues(
    gathered.toArray(),
    Float64Array.from(ranks.flatMap((other) => [...elements(other, size)])),
    `gather of ${name}`,
  );

  const parts = valuesOf(rank, size * worldSize, dtype);
  const exchanged = zeros([worldSize, size], { dtype });
  group.allToAll(exchanged, parts.view([worldSize, size])).wait();
  assertSameValues(
    exchanged.toArray(),
    Float64Array.from(
      ranks.flatMap((other) => [
        ...elements(other, size * worldSize).subarray(rank * size, (rank + 1) * size),
      ]),
    ),
    `exchange of ${name}`,
  );

  const part = zeros([size], { dtype });
  const inputs = slicesOf(valuesOf(rank, size * worldSize, dtype), size);
  group.reduceScatter(part, inputs, 'sum').wait();
  const whole = combine(ranks, size * worldSize, (left, right) => left + right);
  assertSameValues(part.toArray(), whole.slice(rank * size, (rank + 1) * size), `scatter of ${name}`);
  const own = inputs[rank] ?? part;
  group.reduceScatter(own, inputs, 'sum').wait();
  assertSameValues(own.toArray(), part.toArray(), `scatter in place of ${name}`);

  const inPlace = zeros([worldSize * size], { dtype });
  const place = inPlace.narrow(0, rank * size, size);
  place.copy_(valuesOf(rank, size, dtype));
  group.allGather(inPlace, place).wait();
  assertSameValues(inPlace.toArray(), gathered.toArray(), `gather in place of ${name}`);
}

/** In memory from the group itself, whose parts other ranks may read in place; again and again. */
function conformAllocated(group: ProcessGroup, size: number): void {
  const ranks = Array.from({ length: worldSize }, (_, other) => other);
  const whole = group.allocate(worldSize * size, 'float32');
  assert.deepEqual(whole.sum().item(), 0);
  const slices = slicesOf(whole, size);
  const own = slices[rank] ?? whole;
  const sum = combine(ranks, worldSize * size, (left, right) => left + right);
  for (let round = 0; round < 2; round += 1) {
    whole.copy_(valuesOf(rank, worldSize * size, 'float32'));
    group.reduceScatter(own, slices, 'sum').wait();
    group.allGather(whole, own).wait();
    assertSameValues(whole.toArray(), sum, 'scattered and gathered');
    whole.copy_(valuesOf(rank, worldSize * size, 'float32'));
    group.allReduce(whole, 'sum').wait();
    assertSameValues(whole.toArray(), sum, 'reduced');
    whole.copy_(valuesOf(rank, worldSize * size, 'float32'));
    const exchanged = group.allocate(worldSize * size, 'float32');
    group.allToAll(exchanged, whole).wait();
    const said = ranks.map((other) =>
      elements(other, worldSize * size).subarray(rank * size, (rank + 1) * size),
    );
    for (const [other, values] of said.entries())
      assertSameValues(exchanged.narrow(0, other * size, size).toArray(), values, 'exchanged');
    exchanged.dispose();
  }
}

function slicesOf(whole: Tensor, size: number): readonly Tensor[] {
  return Array.from({ length: worldSize }, (_, other) => whole.narrow(0, other * size, size));
}

/** A message around the ring of ranks, two tags crossing. */
function conformMessages(group: ProcessGroup): void {
  if (worldSize === 1) return;
  const [next, previous] = [(rank + 1) % worldSize, (rank + worldSize - 1) % worldSize];
  const [first, second] = [zeros([5]), zeros([5])];
  const works = [
    group.send(valuesOf(rank, 5, 'float32'), next, 1),
    group.send(valuesOf(rank + 10, 5, 'float32'), next, 2),
    group.receive(second, previous, 2),
    group.receive(first, previous, 1),
  ];
  for (const work of works) work.wait();
  assertSameValues(first.toArray(), elements(previous, 5));
  assertSameValues(second.toArray(), elements(previous + 10, 5));
}

/** Several collectives at once, waited for in the opposite order; one tensor is a matrix. */
function conformConcurrency(group: ProcessGroup): void {
  const tensors = [1, 2, 3, 4].map((scale) => valuesOf(rank, 600, 'float32').mul_(scale).view([20, 30]));
  const works = tensors.map((each) => group.allReduce(each, 'sum'));
  for (const work of [...works].reverse()) work.wait();
  const ranks = Array.from({ length: worldSize }, (_, other) => other);
  const sum = combine(ranks, 600, (left, right) => left + right);
  for (const [position, each] of tensors.entries()) {
    assertSameValues(
      each.toArray(),
      sum.map((value) => value * (position + 1)),
    );
  }
}

/** A collective may write into a parameter: it is no part of a graph. */
function conformGradients(group: ProcessGroup): void {
  const parameter = valuesOf(rank, 6, 'float32');
  parameter.requiresGrad = true;
  group.broadcast(parameter, 0).wait();
  group.allReduce(parameter, 'mean').wait();
  assert(parameter.requiresGrad);
  assert(closeTo(parameter.toArray(), elements(0, 6), 'float32'));
}

function conformRefusals(group: ProcessGroup): void {
  scope(() => {
    const refuses = (body: () => void): void =>
      assert.throws(body, (error) => error instanceof TrainyardError && error.code === 'TENSOR_OPERATOR');
    refuses(() => group.allGather(zeros([worldSize * 3 + 1]), zeros([3])));
    refuses(() => group.allGather(zeros([worldSize * 3], { dtype: 'float64' }), zeros([3])));
    refuses(() => group.allToAll(zeros([worldSize * 2]), zeros([worldSize * 3])));
    if (worldSize > 1) refuses(() => group.allToAll(zeros([worldSize + 1]), zeros([worldSize + 1])));
    refuses(() => group.reduceScatter(zeros([3]), slicesOf(zeros([worldSize * 2]), 2), 'sum'));
    if (group instanceof SingleGroup) return;
    for (const absent of [-1, worldSize]) {
      refuses(() => group.broadcast(zeros([3]), absent));
      refuses(() => group.send(zeros([3]), absent));
      refuses(() => group.receive(zeros([3]), absent));
    }
  });
}

/** Small whole numbers, exact in every dtype, that tell ranks and positions apart. */
function elements(of: number, size: number): Float64Array {
  const values = new Float64Array(size);
  for (let position = 0; position < size; position += 1)
    values[position] = ((position * 7 + of * 3) % 23) - 11 + of;
  return values;
}

function valuesOf(of: number, size: number, dtype: DType): Tensor {
  return tensor(elements(of, size)).to(dtype);
}

function combine(
  ranks: readonly number[],
  size: number,
  operation: (left: number, right: number) => number,
): Float64Array {
  const [first = new Float64Array(), ...rest] = ranks.map((other) => elements(other, size));
  for (const other of rest)
    for (let at = 0; at < size; at += 1)
      first[at] = operation(first[at] ?? Number.NaN, other[at] ?? Number.NaN);
  return first;
}

function closeTo(actual: readonly number[], expected: Float64Array, dtype: DType): boolean {
  const tolerance = dtype === 'bfloat16' ? 2 ** -7 : dtype === 'float16' ? 2 ** -9 : 2 ** -20;
  return actual.every((value, at) => Math.abs(value - (expected[at] ?? Number.NaN)) <= tolerance * 16);
}
