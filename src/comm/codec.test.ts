import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { tensor } from '../tensor/create.js';
import { empty } from '../tensor/generated/functions.js';
import { scope } from '../tensor/tensor.js';
import { type Codec, compress, createCodec, decompress, largestMagnitude } from './codec.js';

const FP16 = createCodec({ type: 'fp16' });
const BF16 = createCodec({ type: 'bf16' });
const DYNAMIC = createCodec({ type: 'fp16-dynamic' });
const STATIC_16 = createCodec({ type: 'fp16-static', scale: 2 ** 16 });
const STATIC_24 = createCodec({ type: 'fp16-static', scale: 2 ** 24 });

const TINIEST = 2 ** -149;
const HUGEST = (2 - 2 ** -23) * 2 ** 127;

/** What arrives of values that one rank sends. */
function roundTrip(values: readonly number[], codec: Codec): readonly number[] {
  return scope(() => {
    const sent = tensor(values);
    const scale = codec.scaleFor(codec.usesMaximum ? largestMagnitude(sent) : 0);
    const message = empty([values.length], { dtype: codec.dtype });
    compress(sent, scale, message);
    const arrived = empty([values.length]);
    decompress(message, scale, arrived);
    return arrived.toArray();
  });
}

/** What is larger rounds to 2^128 in 11 bits, which fp32 does not have. */
const HUGE = (2 - 2 ** -11) * 2 ** 127;

/** fp32 values of every magnitude, subnormal ones included. */
const anyValue = fc.float({ noNaN: true, noDefaultInfinity: true }).filter((value) => Math.abs(value) < HUGE);

/** fp32 values between two powers of two, of either sign. */
function between(low: number, high: number): fc.Arbitrary<number> {
  return fc
    .tuple(fc.integer({ min: low, max: high - 1 }), fc.integer({ min: 0, max: 2 ** 23 - 1 }), fc.boolean())
    .map(([exponent, fraction, negative]) => (negative ? -1 : 1) * (1 + fraction / 2 ** 23) * 2 ** exponent);
}

function boundedBy(relative: number, values: readonly number[], arrived: readonly number[], absolute = 0) {
  for (const [at, value] of values.entries()) {
    const error = Math.abs((arrived[at] ?? Number.NaN) - value);
    assert.ok(error <= Math.max(relative * Math.abs(value), absolute), `${arrived[at]} for ${value}`);
  }
}

test('fp16 keeps 11 bits from 2^-14 to 65504', () => {
  const values = fc.array(between(-14, 15), { minLength: 1 });
  fc.assert(fc.property(values, (some) => boundedBy(2 ** -11, some, roundTrip(some, FP16))));
});

test('fp16: zero, too small, smallest, largest, too large, not finite', () => {
  const values = [0, -0, 2 ** -26, 2 ** -25, 2 ** -24, 65_504, 65_519, 65_520, -HUGEST, Infinity, NaN];
  assert.deepEqual(roundTrip(values, FP16), [
    0,
    -0,
    0,
    0,
    2 ** -24,
    65_504,
    65_504,
    Infinity,
    -Infinity,
    Infinity,
    NaN,
  ]);
});

test('a static scale moves the range of fp16 down', () => {
  const cases = [
    [STATIC_16, 16],
    [STATIC_24, 24],
  ] as const;
  for (const [codec, shift] of cases) {
    const values = fc.array(between(-14 - shift, 15 - shift), { minLength: 1 });
    fc.assert(fc.property(values, (some) => boundedBy(2 ** -11, some, roundTrip(some, codec))));
    const edges = [2 ** (-25 - shift), 2 ** (-24 - shift), 65_504 / 2 ** shift, 2 ** (16 - shift), NaN, 0];
    assert.deepEqual(roundTrip(edges, codec), [0, 2 ** (-24 - shift), 65_504 / 2 ** shift, Infinity, NaN, 0]);
  }
});

test('a static scale may be any number, and costs at most two roundings of fp32 more', () => {
  const scale = fc.double({ min: 1, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(scale, fc.array(between(-14, -5), { minLength: 1 }), (chosen, some) => {
      const codec = createCodec({ type: 'fp16-static', scale: chosen });
      boundedBy(2 ** -11 + 2 ** -22, some, roundTrip(some, codec));
    }),
  );
});

test('bf16 keeps 8 bits over the range of fp32', () => {
  const values = fc.array(between(-126, 127), { minLength: 1 });
  fc.assert(fc.property(values, (some) => boundedBy(2 ** -8, some, roundTrip(some, BF16))));
  const edges = [0, TINIEST, 2 ** -133, HUGEST, -Infinity, NaN];
  assert.deepEqual(roundTrip(edges, BF16), [0, 0, 2 ** -133, Infinity, -Infinity, NaN]);
});

test('the dynamic scale is the largest power of two that keeps the maximum in fp16', () => {
  const check = (magnitude: number) => {
    const maximum = Math.abs(magnitude);
    const scale = DYNAMIC.scaleFor(maximum);
    assert.ok(Number.isInteger(Math.log2(scale)));
    assert.ok(scale * maximum <= 65_504 && 2 * scale * maximum > 65_504, `scale ${scale} for ${maximum}`);
  };
  fc.assert(fc.property(between(-126, 128), check));
  for (const edge of [TINIEST, HUGEST, 65_504, 65_505, 1, 2 ** -14, 65_504 * 2 ** -30, 65_504.004])
    check(edge);
  for (const edge of [0, Infinity, NaN]) assert.equal(DYNAMIC.scaleFor(edge), 1);
});

test('with the dynamic scale nothing finite becomes infinite, and little is lost', () => {
  fc.assert(
    fc.property(fc.array(anyValue, { minLength: 1 }), (some) => {
      const maximum = Math.max(...some.map(Math.abs));
      boundedBy(2 ** -11, some, roundTrip(some, DYNAMIC), maximum * 2 ** -39);
    }),
  );
});

test('the dynamic scale: zero stays zero, the tiniest and the hugest arrive, non-finite ones stay visible', () => {
  assert.deepEqual(roundTrip([0, -0], DYNAMIC), [0, -0]);
  assert.deepEqual(roundTrip([TINIEST, 3 * TINIEST], DYNAMIC), [TINIEST, 3 * TINIEST]);
  assert.deepEqual(roundTrip([2 ** 127, 2 ** 100], DYNAMIC), [2 ** 127, 2 ** 100]);
  assert.deepEqual(roundTrip([1, NaN, Infinity, -Infinity, 0], DYNAMIC), [1, NaN, Infinity, -Infinity, 0]);
  assert.deepEqual(roundTrip([HUGEST], DYNAMIC), [Infinity]);
});

test('powers of two arrive exactly, each with the scale of its own', () => {
  for (const [codec, low, high] of [
    [FP16, -24, 15],
    [STATIC_16, -40, -1],
    [STATIC_24, -48, -9],
    [BF16, -133, 127],
  ] as const) {
    const powers = Array.from({ length: high - low + 1 }, (_, step) => 2 ** (low + step));
    assert.deepEqual(roundTrip(powers, codec), powers);
  }
  for (let exponent = -149; exponent <= 127; exponent += 1) {
    assert.deepEqual(roundTrip([2 ** exponent], DYNAMIC), [2 ** exponent]);
  }
});

test('the largest magnitude sees what is not finite, wherever it is', () => {
  scope(() => {
    for (const odd of [NaN, Infinity, -Infinity]) {
      for (const place of [0, 1, 40, 99]) {
        const values = new Array<number>(100).fill(-3);
        values[place] = odd;
        assert.equal(largestMagnitude(tensor(values)), Infinity);
      }
    }
    assert.equal(largestMagnitude(tensor([-3, 2])), 3);
    assert.equal(largestMagnitude(tensor([0, -0])), 0);
  });
});
