import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { tensor } from '../tensor/create.js';
import { empty } from '../tensor/generated/functions.js';
import { scope } from '../tensor/tensor.js';
import type { Codec } from './codec/codec.js';
import { createCodec, decode, encoded, largestMagnitude } from './codec.js';

const FP16 = createCodec({ type: 'fp16' });
const BF16 = createCodec({ type: 'bf16' });
const DYNAMIC = createCodec({ type: 'fp16-dynamic' });
const STATIC_16 = createCodec({ type: 'fp16-static', scale: 2 ** 16 });
const STATIC_24 = createCodec({ type: 'fp16-static', scale: 2 ** 24 });

/** What a codec promises. */
interface Contract {
  readonly name: string;
  readonly codec: Codec;
  readonly significantBits: number;
  /** Powers of two between which all values keep those bits. */
  readonly range: readonly [low: number, high: number];
  /** The smallest number that is not lost. */
  readonly smallest: number;
  /** The largest that arrives as itself. */
  readonly largest: number;
  /** Travels with the values, for a codec that looks at the largest. */
  readonly beside: readonly number[];
}

const CONTRACTS: readonly Contract[] = [
  fp16Contract('fp16', FP16, 0),
  fp16Contract('fp16-static 2^16', STATIC_16, 16),
  fp16Contract('fp16-static 2^24', STATIC_24, 24),
  // With 2^16 · α = 65536 as the first scale that is too large, α is 2^15.
  { ...fp16Contract('fp16-dynamic', DYNAMIC, 15), range: [-29, 0], beside: [1], largest: 1 },
  {
    name: 'bf16',
    codec: BF16,
    significantBits: 8,
    range: [-126, 127],
    smallest: 2 ** -133,
    largest: (2 - 2 ** -7) * 2 ** 127,
    beside: [],
  },
];

/** fp16 of values that are multiplied by 2^shift. */
function fp16Contract(name: string, codec: Codec, shift: number): Contract {
  return {
    name,
    codec,
    significantBits: 11,
    range: [-14 - shift, 15 - shift],
    smallest: 2 ** (-24 - shift),
    largest: 65_504 / 2 ** shift,
    beside: [],
  };
}

const TINIEST = 2 ** -149;
const HUGEST = (2 - 2 ** -23) * 2 ** 127;

/** What arrives of values that one rank sends. */
function roundTrip(values: readonly number[], codec: Codec): readonly number[] {
  return scope(() => {
    const sent = tensor(values);
    const coder = codec.coder(codec.usesMaximum ? largestMagnitude(sent) : 0);
    const message = encoded(sent, codec, coder);
    assert.deepEqual(sent.toArray(), [...Float32Array.from(values)], 'encoding changed the values');
    assert.equal(message.elements, codec.messageElements(values.length));
    const arrived = empty([values.length]);
    decode(message, arrived, coder);
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

for (const { name, codec, significantBits, range, smallest, largest, beside } of CONTRACTS) {
  const arrivals = (values: readonly number[]) =>
    roundTrip([...values, ...beside], codec).slice(0, values.length);
  const inRange = fc.array(between(...range), { minLength: 1 });
  const sorted = inRange.map((values) => [...values].sort((a, b) => a - b));

  test(`${name}: its significant bits inside its range`, () => {
    const check = (values: readonly number[]) => boundedBy(2 ** -significantBits, values, arrivals(values));
    fc.assert(fc.property(inRange, check));
  });

  test(`${name}: what has arrived arrives as it is, order and sign are kept`, () => {
    fc.assert(
      fc.property(sorted, (values) => {
        const arrived = arrivals(values);
        assert.deepEqual(arrivals(arrived), arrived);
        assert.deepEqual(
          [...arrived].sort((a, b) => a - b),
          arrived,
        );
        const opposite = arrivals(values.map((value) => -value));
        assert.deepEqual(
          opposite,
          arrived.map((value) => -value),
        );
      }),
    );
  });

  test(`${name}: zero stays zero, with its sign`, () => {
    assert.deepEqual(arrivals([0, -0]), [0, -0]);
  });

  test(`${name}: tiny values round to the smallest number or to zero`, () => {
    const tiny = [smallest, -smallest, 0.75 * smallest, -0.75 * smallest, smallest / 2, -smallest / 2];
    assert.deepEqual(arrivals(tiny), [smallest, -smallest, smallest, -smallest, 0, -0]);
    assert.deepEqual(arrivals([TINIEST]), [0]);
  });

  test(`${name}: the largest number arrives, what rounds to more is infinite`, () => {
    assert.deepEqual(arrivals([largest, -largest]), [largest, -largest]);
    if (codec.usesMaximum) return;
    const step = largest * 2 ** -significantBits;
    assert.deepEqual(arrivals([largest + 0.49 * step]), [largest]);
    assert.deepEqual(arrivals([largest + step, -HUGEST]), [Infinity, -Infinity]);
  });

  test(`${name}: what is not finite arrives as such, and zero beside it stays zero`, () => {
    const values = [NaN, Infinity, -Infinity, 0];
    assert.deepEqual(arrivals(values), values);
  });
}

test('a static scale may be any number, and costs at most two roundings of fp32 more', () => {
  const scale = fc.double({ min: 1, max: 1e6, noNaN: true });
  fc.assert(
    fc.property(scale, fc.array(between(-14, -5), { minLength: 1 }), (chosen, some) => {
      const codec = createCodec({ type: 'fp16-static', scale: chosen });
      boundedBy(2 ** -11 + 2 ** -22, some, roundTrip(some, codec));
    }),
  );
});

test('the dynamic scale is the largest power of two that keeps the maximum in fp16', () => {
  /** What stands in a message for a value, where no value is larger than the maximum. */
  const written = (value: number, maximum: number): number =>
    scope(() =>
      encoded(tensor([value]), DYNAMIC, DYNAMIC.coder(maximum))
        .to('float32')
        .item(),
    );
  const check = (magnitude: number) => {
    const code = written(magnitude, Math.abs(magnitude));
    assert.ok(Math.abs(code) <= 65_504 && Math.abs(code) > 65_504 / 2 - 16, `${code} for ${magnitude}`);
    const exact = code / magnitude;
    const scale = 2 ** Math.round(Math.log2(exact));
    assert.ok(Math.abs(exact / scale - 1) <= 2 ** -11, `a scale of ${exact} for ${magnitude}`);
  };
  fc.assert(fc.property(between(-126, 128), check));
  for (const edge of [TINIEST, 65_504, 65_505, 1, 2 ** -14, 65_504 * 2 ** -30, 65_504.004]) check(edge);
  for (const edge of [0, Infinity, NaN]) assert.equal(written(3, edge), 3);
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
