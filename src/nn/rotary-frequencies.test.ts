import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type RotaryScaling, scaleFrequency } from './rotary-frequencies.js';

const llama3 = {
  kind: 'llama3',
  factor: 8,
  lowFrequencyFactor: 1,
  highFrequencyFactor: 4,
  originalLength: 8192,
} as const satisfies RotaryScaling;

const frequency = fc.float({ min: Math.fround(1e-6), max: 1, noNaN: true });

test('without scaling a frequency stays as it is', () => {
  assert.equal(scaleFrequency(0.25, { kind: 'none' }), 0.25);
});

test('linear scaling divides every frequency', () => {
  assert.equal(scaleFrequency(0.75, { kind: 'linear', factor: 3 }), 0.25);
});

test('llama3 leaves short waves alone and stretches long ones by the factor', () => {
  const shortWave = Math.fround((2 * Math.PI) / 2000);
  const longWave = Math.fround((2 * Math.PI) / 9000);
  assert.equal(scaleFrequency(shortWave, llama3), shortWave);
  assert.equal(scaleFrequency(longWave, llama3), Math.fround(longWave / 8));
});

test('llama3 blends between: what transformers 5.18 makes of a wave of 4096', () => {
  const scaled = scaleFrequency(Math.fround((2 * Math.PI) / 4096), llama3);
  assert.ok(Math.abs(scaled - 0.00063915865) < 1e-9, `${scaled}`);
});

test('llama3 never raises a frequency, nor lowers it by more than the factor', () => {
  fc.assert(
    fc.property(frequency, (value) => {
      const scaled = scaleFrequency(value, llama3);
      assert.ok(scaled <= value * (1 + 1e-6) && scaled >= (value / 8) * (1 - 1e-6));
    }),
  );
});
