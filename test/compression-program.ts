import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import type { Codec } from '../src/comm/codec/codec.js';
import { addDecoded, createCodec, encoded, largestMagnitude } from '../src/comm/codec.js';
import { CompressedReductions, chunksOf } from '../src/comm/compressed-reductions.js';
import type { ActiveCompression } from '../src/comm/config.js';
import { rendezvous } from '../src/comm/rendezvous.js';
import { sumCompressed } from '../src/engine/bench/compression.js';
import { native } from '../src/native/native.js';
import {
  compressedAllReduce,
  compressedBetweenHosts,
  compressedReduceScatter,
} from '../src/step/compressed-messages.js';
import { tensor } from '../src/tensor/create.js';
import { empty, zeros } from '../src/tensor/generated/functions.js';
import { scope, type Tensor } from '../src/tensor/tensor.js';
import type { RankPlace } from './rank-world.js';

/** One rank of the tests of compressed reductions: its arguments are ALGORITHM. */
export function run(
  { rank, worldSize, port: masterPort }: RankPlace,
  [algorithmText]: readonly string[],
): void {
  const algorithm = algorithmText === 'shared-memory' ? 'shared-memory' : 'backend';

  /** What one coding may do to a value of a message whose largest is `largest`. */
  type Bound = (value: number, largest: number) => number;

  const relative =
    (error: number): Bound =>
    (value) =>
      error * Math.abs(value) + 2 ** -25;
  const ofLargest =
    (error: number): Bound =>
    (_, largest) =>
      error * largest * (1 + 2 ** -14);

  const SCHEMES: readonly (readonly [scheme: ActiveCompression, bound: Bound])[] = [
    [{ type: 'fp16' }, relative(2 ** -11)],
    [{ type: 'fp16-static', scale: 2 ** 16 }, relative(2 ** -11)],
    [{ type: 'fp16-static', scale: 2 ** 24 }, relative(2 ** -11)],
    [{ type: 'fp16-static', scale: 1000 }, relative(2 ** -11 + 2 ** -22)],
    [{ type: 'fp16-dynamic' }, relative(2 ** -11)],
    [{ type: 'bf16' }, relative(2 ** -8)],
    [{ type: 'int8', block_size: 32 }, ofLargest(1 / 254)],
    [{ type: 'int4', block_size: 128 }, ofLargest(1 / 14)],
    // A sign says nothing of how large a value is beside the mean.
    [{ type: 'one-bit' }, ofLargest(2)],
  ];
  const SIZES = [1, 2, 7, 96, 4099];

  const group = rendezvous({
    rank,
    worldSize,
    masterAddress: '127.0.0.1',
    masterPort,
    storeIsHosted: false,
    runId: 'compression/0',
    networkInterface: 'lo',
    timeoutMs: 20_000,
    exchange: {
      algorithm,
      hostName: 'here',
      localWorldSize: worldSize,
      inOrder: false,
      cores: availableParallelism(),
      threadsPerRank: 1,
    },
  });
  assert.equal(group.readsInPlace, algorithm === 'shared-memory');
  const before = native.liveHandles();
  for (const [scheme, bound] of SCHEMES) {
    const codec = createCodec(scheme);
    for (const size of SIZES) {
      scope(() => sumsWithinBounds(scheme, codec, size, bound));
      scope(() => scattersTheSum(codec, size));
      if (codec.feedsBack) scope(() => losesNothing(codec, size));
    }
    scope(() => staysVisible(codec));
    scope(() => manyAtOnce(codec));
  }
  scope(overflows);
  for (const elements of [0, 1, 600, 601]) scope(() => countsBytes(elements));
  if (worldSize === 4) scope(scattersBetweenHosts);
  group.barrier().wait();
  assert.equal(native.liveHandles(), before, 'tensors leaked');
  group.close();

  /** The values of a rank: of two magnitudes, and inside the range of every scheme. */
  function valuesOf(of: number, size: number): Tensor {
    const values = Array.from(
      { length: size },
      (_, at) => Math.sin(at * 3 + of * 7 + 1) * (at % 3 === 0 ? 1e-3 : 2e-5),
    );
    return tensor(values);
  }

  function reduce(values: Tensor, codec: Codec): Tensor {
    new CompressedReductions(group).allReduce(values, codec).wait();
    return values;
  }

  function sumsWithinBounds(scheme: ActiveCompression, codec: Codec, size: number, bound: Bound): void {
    const name = `${JSON.stringify(scheme)} × ${size}`;
    const parts = Array.from({ length: worldSize }, (_, other) => valuesOf(other, size));
    const columns = parts.map((part) => part.toArray());
    const result = reduce(valuesOf(rank, size), codec);
    const largest = columns.map((column) => Math.max(...column.map(Math.abs)));
    for (const [at, sum] of result.toArray().entries()) {
      const values = columns.map((column) => column[at] ?? Number.NaN);
      const exact = values.reduce((total, value) => total + value, 0);
      // Every part is coded once, and then their sum.
      const ofParts = values.reduce((total, value, part) => total + bound(value, largest[part] ?? 0), 0);
      const magnitude = values.reduce((total, value) => total + Math.abs(value), 0) + ofParts;
      const largestSum = largest.reduce((total, each) => total + 2 * each, 0);
      const allowed = ofParts + bound(magnitude, largestSum) + 2 ** -20 * magnitude;
      assert.ok(Math.abs(sum - exact) <= allowed, `${name}: ${sum} for ${exact}`);
    }
    assert.deepEqual(
      result.toBytes(),
      sumCompressed(parts, codec).toBytes(),
      `${name} is not the sum in the order of ranks`,
    );
    sameEverywhere(result, name);
  }

  function sameEverywhere(values: Tensor, name: string): void {
    const all = empty([worldSize * values.elements]);
    group.allGather(all, values).wait();
    for (let other = 0; other < worldSize; other += 1) {
      const theirs = all.narrow(0, other * values.elements, values.elements).contiguous();
      assert.deepEqual(theirs.toBytes(), values.toBytes(), `${name} differs on rank ${other}`);
    }
  }

  /** Every rank gets its row of the sum over a matrix that lies in larger memory, which stays as it is. */
  function scattersTheSum(codec: Codec, size: number): void {
    const margin = 3;
    const wide = (of: number) => valuesOf(of, worldSize * (size + margin)).view([worldSize, size + margin]);
    const rowsOf = (matrix: Tensor) => matrix.narrow(1, 1, size);
    const values = wide(rank);
    new CompressedReductions(group).reduceScatter(rowsOf(values), codec).wait();

    const parts = Array.from({ length: worldSize }, (_, other) => rowsOf(wide(other)).contiguous());
    const coder = codec.coder(codec.usesMaximum ? Math.max(...parts.map(largestMagnitude)) : 0);
    const expected = zeros([size]);
    for (const part of parts) addDecoded(encoded(part.select(0, rank), codec, coder), expected, coder);
    assert.deepEqual(rowsOf(values).select(0, rank).contiguous().toBytes(), expected.toBytes());
    const outside = (matrix: Tensor) =>
      matrix
        .narrow(1, size + 1, margin - 1)
        .contiguous()
        .toBytes();
    assert.deepEqual(outside(values), outside(wide(rank)), 'memory beside the rows was changed');
  }

  /** With error feedback all that ever arrived and all that is kept is all that was ever sent. */
  function losesNothing(codec: Codec, size: number): void {
    const rounds = 5;
    const own = chunksOf(zeros([size]), worldSize).map(({ elements }) => elements);
    const errors = { worker: zeros([size]), server: zeros([own[rank] ?? 0]) };
    const matrixErrors = { worker: zeros([worldSize, size]) };
    const [arrived, scattered, exact] = [zeros([size]), zeros([size]), zeros([size])];
    for (let round = 0; round < rounds; round += 1) {
      const values = valuesOf(rank + round, size);
      new CompressedReductions(group).allReduce(values, codec, errors).wait();
      sameEverywhere(values, 'a sum with error feedback');
      arrived.add_(values);
      const rows = valuesOf(rank + round, size)
        .expand([worldSize, size])
        .contiguous();
      new CompressedReductions(group).reduceScatter(rows, codec, matrixErrors).wait();
      scattered.add_(rows.select(0, rank));
      for (let other = 0; other < worldSize; other += 1) exact.add_(valuesOf(other + round, size));
    }
    const kept = errors.worker.clone();
    at(chunksOf(kept, worldSize), rank).add_(errors.server);
    group.allReduce(kept, 'sum').wait();
    close(arrived.add(kept), exact);
    group.allReduce(matrixErrors.worker, 'sum').wait();
    close(scattered.add(matrixErrors.worker.select(0, rank)), exact);
    assert.ok(largestMagnitude(kept) > 0 || size <= worldSize, 'a sign lost nothing');
  }

  function close(values: Tensor, expected: Tensor): void {
    const difference = largestMagnitude(values.sub(expected));
    assert.ok(difference < 1e-7, `off by ${difference}`);
  }

  function at(tensors: readonly Tensor[], index: number): Tensor {
    const tensor = tensors[index];
    assert.ok(tensor);
    return tensor;
  }

  /**
   * What is not finite on the last rank alone is not finite on any rank afterwards, wherever it was and, in codes with
   * blocks, for all of its block; and zero stays zero.
   */
  function staysVisible(codec: Codec): void {
    const isPlain = codec.dtype !== 'uint8';
    for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      const values = new Array<number>(50 * worldSize).fill(0);
      if (rank === worldSize - 1)
        for (let owner = 0; owner < worldSize; owner += 1) values[50 * owner + 31] = odd;
      const matrix = tensor(values).view([worldSize, 50]);
      new CompressedReductions(group).reduceScatter(matrix, codec).wait();
      for (const sums of [reduce(tensor(values), codec).narrow(0, 0, 50), matrix.select(0, rank)]) {
        const isExpected = sums
          .toArray()
          .map((sum, at) => (at === 31 ? isOdd(sum, odd, isPlain) : sum === 0 || !isPlain));
        assert.ok(!isExpected.includes(false), `${sums.toArray()} for ${odd}`);
      }
    }
    assert.deepEqual(reduce(zeros([9]), codec).toArray(), new Array<number>(9).fill(0));
  }

  function isOdd(value: number, odd: number, isPlain: boolean): boolean {
    return isPlain ? Object.is(value, odd) : !Number.isFinite(value);
  }

  /** Several reductions started before the first is waited for, and waited for in the opposite order. */
  function manyAtOnce(codec: Codec): void {
    const reductions = new CompressedReductions(group);
    const tensors = [1, 2, 3, 4].map((power) => valuesOf(rank, 600).mul_(2 ** -power));
    const works = tensors.map((each) => reductions.allReduce(each, codec));
    for (const work of [...works].reverse()) work.wait();
    for (const [at, each] of tensors.entries()) {
      const parts = Array.from({ length: worldSize }, (_, other) =>
        valuesOf(other, 600).mul_(2 ** -(at + 1)),
      );
      assert.deepEqual(each.toBytes(), sumCompressed(parts, codec).toBytes());
    }
  }

  /** 40960 on every rank fits into fp16, and its sum does not; only a scale that the ranks agree on can know. */
  function overflows(): void {
    const large = () => tensor(new Array<number>(5).fill(40_960));
    const plain = reduce(large(), createCodec({ type: 'fp16' })).toArray();
    assert.deepEqual(plain, new Array<number>(5).fill(Number.POSITIVE_INFINITY));
    const dynamic = reduce(large(), createCodec({ type: 'fp16-dynamic' })).toArray();
    assert.deepEqual(dynamic, new Array<number>(5).fill(40_960 * worldSize));
    const matrix = tensor(new Array<number>(worldSize).fill(40_960)).view([worldSize, 1]);
    new CompressedReductions(group).reduceScatter(matrix, createCodec({ type: 'fp16' })).wait();
    assert.equal(matrix.select(0, rank).item(), 40_960 * worldSize, 'a sum that stays is not rounded again');
    const tiny = () => tensor([2 ** -40, 0]);
    assert.deepEqual(reduce(tiny(), createCodec({ type: 'fp16' })).toArray(), [0, 0]);
    assert.deepEqual(reduce(tiny(), createCodec({ type: 'fp16-dynamic' })).toArray(), [
      worldSize * 2 ** -40,
      0,
    ]);
  }

  /** What a rank sends is what the table of effects says, whatever the size. */
  function countsBytes(elements: number): void {
    const program = { rank, groups: { data: Array.from({ length: worldSize }, (_, other) => other) } };
    for (const [scheme] of SCHEMES) {
      const codec = createCodec(scheme);
      const reductions = new CompressedReductions(group);
      const sent = sentDuring(() => reductions.allReduce(valuesOf(rank, elements), codec).wait());
      const reduced = compressedAllReduce(
        { start: 0, end: elements, carriesTally: false },
        scheme,
        worldSize,
      );
      assert.equal(sent, reduced.sentBytes, `all-reduce of ${elements}, ${scheme.type}`);

      const matrix = valuesOf(rank, worldSize * elements).view([worldSize, elements]);
      const sentRows = sentDuring(() => reductions.reduceScatter(matrix, codec).wait());
      const scattered = compressedReduceScatter({ start: 0, end: elements }, scheme, program);
      assert.equal(sentRows, scattered.sentBytes, `reduce-scatter of ${elements}, ${scheme.type}`);
    }
  }

  /** Two hosts of two ranks: what is said inside one is exact, what is said between them is coded once. */
  function scattersBetweenHosts(): void {
    const hosts = [
      [0, 1],
      [2, 3],
    ];
    const size = 301;
    const compression = { type: 'int4', block_size: 64 } as const;
    const codec = createCodec(compression);
    const coder = codec.coder(0);
    const rowsOf = (of: number) => valuesOf(of, worldSize * size).view([worldSize, size]);
    const values = rowsOf(rank);
    const reductions = new CompressedReductions(group);
    const sent = sentDuring(() => reductions.reduceScatterBetweenHosts(values, codec, hosts).wait());

    const sumOfHost = (ranks: readonly number[]): Tensor => {
      const sum = zeros([size]);
      for (const other of ranks) sum.add_(rowsOf(other).select(0, rank));
      return sum;
    };
    const isOwn = (ranks: readonly number[]): boolean => ranks.includes(rank);
    const [own = [], theirs = []] = [...hosts].sort((left) => (isOwn(left) ? -1 : 1));
    const expected = sumOfHost(own);
    addDecoded(encoded(sumOfHost(theirs), codec, coder), expected, coder);
    assert.deepEqual(values.select(0, rank).toBytes(), expected.toBytes());

    const groups = { data: hosts.flat() };
    const { sentBytes } = compressedBetweenHosts({ start: 0, end: size }, compression, { groups, hosts });
    assert.equal(sent, sentBytes);

    for (const odd of [Number.NaN, Number.POSITIVE_INFINITY]) {
      const broken = zeros([worldSize, 70]);
      if (rank === 3) broken.narrow(1, 69, 1).fill_(odd);
      new CompressedReductions(group).reduceScatterBetweenHosts(broken, codec, hosts).wait();
      const sums = broken.select(0, rank).toArray();
      assert.ok(!Number.isFinite(sums[69]) && sums.slice(0, 64).every((sum) => sum === 0), `${sums}`);
    }
  }

  /** What this rank sends during a body. */
  function sentDuring(body: () => void): number {
    const before = group.exchangedBytes;
    body();
    return group.exchangedBytes - before;
  }
}
