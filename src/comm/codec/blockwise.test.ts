import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { tensor } from '../../tensor/create.js';
import { empty, zeros } from '../../tensor/generated/functions.js';
import { scope } from '../../tensor/tensor.js';
import { addDecoded, createCodec, decode, encoded } from '../codec.js';
import type { Codec } from './codec.js';
import { PIECE_ELEMENTS } from './pieces.js';

const HUGEST = (2 - 2 ** -23) * 2 ** 127;
const TINIEST = 2 ** -149;

/** Blocks of smaller scales arrive as zeros. */
const SMALLEST_SCALE = 2 ** -126;

/** What arrives of values that one rank sends. */
function arrivals(values: readonly number[], codec: Codec): readonly number[] {
  return scope(() => {
    const coder = codec.coder(0);
    const sent = tensor(values);
    const message = encoded(sent, codec, coder);
    assert.deepEqual(sent.toArray(), [...Float32Array.from(values)], 'encoding changed the values');
    assert.equal(message.elements, codec.messageElements(values.length));
    const arrived = empty([values.length]);
    decode(message, arrived, coder);
    const sum = zeros([values.length]);
    addDecoded(message, sum, coder);
    addDecoded(message, sum, coder, -1);
    if (values.every(Number.isFinite))
      assert.deepEqual(
        sum.abs().toArray(),
        values.map(() => 0),
      );
    return arrived.toArray();
  });
}

/** fp32 values of ordinary size, and of every size. */
const usual = fc.float({ min: -1000, max: 1000, noNaN: true });
const any = fc.float({ noNaN: true, noDefaultInfinity: true });

function blocksOf<T>(values: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(values.length / size) }, (_, block) =>
    values.slice(block * size, (block + 1) * size),
  );
}

const largestOf = (values: readonly number[]): number => Math.max(...values.map(Math.abs));

for (const [type, levels] of [
  ['int8', 127],
  ['int4', 7],
] as const) {
  const codecOf = (size: number) => createCodec({ type, block_size: size });
  const codec = codecOf(32);

  test(`${type}: no value is off by more than half a scale of its block`, () => {
    const sizes = fc.constantFrom(32, 64, 128);
    const lists = fc.array(fc.oneof(usual, any), { minLength: 1, maxLength: 300 });
    fc.assert(
      fc.property(lists, sizes, (values, size) => {
        const arrived = blocksOf(arrivals(values, codecOf(size)), size);
        for (const [index, block] of blocksOf(values, size).entries()) {
          const largest = largestOf(block);
          const isTiny = largest / levels < SMALLEST_SCALE * (1 + 2 ** -20);
          const bound = isTiny ? largest : (largest / levels / 2) * (1 + 2 ** -14);
          for (const [at, value] of block.entries()) {
            const error = Math.abs((arrived[index]?.[at] ?? Number.NaN) - value);
            // The largest number of fp32 may round to one beyond it.
            assert.ok(
              error <= bound || largest > HUGEST * (1 - 2 ** -20),
              `${value} is off by ${error} in ${block}`,
            );
          }
        }
      }),
    );
  });

  test(`${type}: whole numbers of scales arrive as they are`, () => {
    const numbers = fc.array(fc.integer({ min: -levels, max: levels }), { minLength: 1, maxLength: 100 });
    const exponents = fc.integer({ min: -100, max: 100 });
    fc.assert(
      fc.property(numbers, exponents, (some, exponent) => {
        // One of the largest number in every block makes the scale that power of two.
        const values = blocksOf(some, 31).flatMap((block) => [levels, ...block]);
        const scaled = values.map((value) => value * 2 ** exponent);
        const arrived = arrivals(scaled, codec);
        assert.deepEqual(
          arrived.map((value) => Math.round(value * 2 ** -exponent)),
          values.map((value) => value + 0),
        );
      }),
    );
  });

  test(`${type}: zero, tiny, huge`, () => {
    assert.deepEqual(arrivals([0, 0, 0], codec), [0, 0, 0]);
    assert.deepEqual(arrivals([TINIEST, -TINIEST], codec).map(Math.abs), [0, 0]);
    const smallest = levels * SMALLEST_SCALE;
    assert.deepEqual(arrivals([0.99 * smallest], codec), [0]);
    assert.deepEqual(arrivals([smallest, -smallest, 0], codec), [smallest, -smallest, 0]);
    const [zero = 1, small = 0] = arrivals([0, 2 ** -100], codec);
    assert.equal(zero, 0);
    assert.ok(Math.abs(small / 2 ** -100 - 1) < 2 ** -20);
    const [large = 0, other = 0] = arrivals([3e38, -3e38], codec);
    assert.ok(Math.abs(large / 3e38 - 1) < 2 ** -20 && other === -large);
  });

  test(`${type}: a block with a number that is not finite arrives without one that is, and its neighbours do not`, () => {
    for (const odd of [NaN, Infinity, -Infinity]) {
      const values = Array.from({ length: 100 }, (_, at) => (at === 40 ? odd : (at % 5) - 2));
      const arrived = arrivals(values, codec);
      for (const [at, value] of arrived.entries()) {
        if (at >= 32 && at < 64) assert.ok(!Number.isFinite(value), `${value} at ${at} for ${odd}`);
        else assert.ok(Math.abs(value - (values[at] ?? 0)) <= 2 / levels, `${value} at ${at}`);
      }
    }
  });
}

test('bytes: a scale for each block that was begun, the codes of all values, and up to three for the alignment', () => {
  const bytes = (type: 'int8' | 'int4', values: number) =>
    createCodec({ type, block_size: 64 }).messageElements(values);
  assert.deepEqual(
    [0, 1, 64, 65, 129].map((values) => bytes('int8', values)),
    [0, 8, 68, 76, 144],
  );
  assert.deepEqual(
    [0, 1, 64, 65, 129].map((values) => bytes('int4', values)),
    [0, 8, 36, 44, 80],
  );
  const oneBit = createCodec({ type: 'one-bit' });
  assert.deepEqual([0, 1, 8, 9, 512, 513].map(oneBit.messageElements), [0, 8, 8, 8, 68, 76]);
});

test('one-bit: signs times the mean magnitude of a block, no further from the values than zero is', () => {
  const codec = createCodec({ type: 'one-bit' });
  assert.deepEqual(arrivals([3, -1, 0, -4, 2], codec), [2, -2, 2, -2, 2]);
  fc.assert(
    fc.property(fc.array(usual, { minLength: 1, maxLength: 1200 }), (values) => {
      const arrived = arrivals(values, codec);
      const squares = (list: readonly number[]) => list.reduce((sum, value) => sum + value * value, 0);
      const lost = squares(arrived.map((value, at) => value - (values[at] ?? 0)));
      assert.ok(lost <= squares(values) * (1 + 2 ** -20) + 1e-70, `${lost} of ${squares(values)}`);
      // Beside large values, tiny ones are zero, which counts as positive.
      for (const [at, value] of arrived.entries()) {
        const sent = values[at] ?? 0;
        if (Math.abs(sent) > 2 ** -100) assert.equal(value > 0, sent > 0, `${value} for ${sent}`);
      }
    }),
  );
});

test('one-bit: zeros, and what is not finite', () => {
  const codec = createCodec({ type: 'one-bit' });
  assert.deepEqual(arrivals([0, 0, -0], codec), [0, 0, 0]);
  for (const odd of [NaN, Infinity, -Infinity]) {
    const values = Array.from({ length: 600 }, (_, at) => (at === 9 ? odd : 1));
    const arrived = arrivals(values, codec);
    assert.ok(arrived.slice(0, 512).every((value) => !Number.isFinite(value)));
    assert.deepEqual(arrived.slice(512), values.slice(512));
  }
});

test('messages of several pieces: every value arrives at its place', () => {
  const length = 2 * PIECE_ELEMENTS + 77;
  const values = Array.from({ length }, (_, at) => Math.sin(at) + (at % 997 === 0 ? 5 : 0));
  for (const [codec, bound] of [
    [createCodec({ type: 'int8', block_size: 96 }), 6 / 254],
    [createCodec({ type: 'int4', block_size: 160 }), 6 / 14],
    [createCodec({ type: 'fp16' }), 6 * 2 ** -11],
    [createCodec({ type: 'fp16-static', scale: 3 }), 6 * 2 ** -11],
  ] as const) {
    const arrived = arrivals(values, codec);
    const worst = arrived.findIndex((value, at) => !(Math.abs(value - (values[at] ?? 0)) <= bound * 1.001));
    assert.equal(worst, -1, `${arrived[worst]} for ${values[worst]} at ${worst}`);
  }
});
