import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatBytes, formatCount, formatDuration, formatRate, formatValue } from './format.js';

test('numbers keep three digits that matter', () => {
  assert.deepEqual([0, 7, 999, 1000, 12_345, 123_456, 5_312_000, 7e9].map(formatCount), [
    '0',
    '7',
    '999',
    '1.00k',
    '12.3k',
    '123k',
    '5.31M',
    '7.00B',
  ]);
  assert.deepEqual([512, 2048, 3 * 1024 ** 3].map(formatBytes), ['512 B', '2.00 KiB', '3.00 GiB']);
});

test('durations read like a clock', () => {
  assert.deepEqual([0, 7.4, 754, 3723, 90_000].map(formatDuration), [
    '0:00',
    '0:07',
    '12:34',
    '1:02:03',
    '25:00:00',
  ]);
});

test('losses and rates', () => {
  assert.deepEqual([2.34567, 12.3456, 0, 0.0001, 123_456_789, Number.NaN].map(formatValue), [
    '2.3457',
    '12.35',
    '0.0000',
    '1.00e-4',
    '1.23e+8',
    'not finite',
  ]);
  assert.deepEqual([3e-4, 0].map(formatRate), ['3.00e-4', '0']);
});
