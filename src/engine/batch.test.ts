import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { type Batch, cutBatch } from './batch.js';

const LIMITS = { vocabularySize: 10, maximumLength: 4 };

const cut = (batch: Batch, limits: { vocabularySize: number; maximumLength?: number } = LIMITS) =>
  cutBatch(batch, limits, 1, 2);

test('a batch is cut into micro-batches, its labels the next tokens', () => {
  const [first, second] = cut({
    inputIds: [
      [0, 9, 3],
      [1, 2, 3],
    ],
  });
  assert.deepEqual(first?.inputIds, BigInt64Array.of(0n, 9n, 3n));
  assert.deepEqual(second?.labels, BigInt64Array.of(2n, 3n, -100n));
  assert.equal(second?.targetTokens, 2);
});

test('a single position is enough where it has a label', () => {
  const [first] = cut({ inputIds: [[1], [2]], labels: [[9], [-100]] });
  assert.equal(first?.targetTokens, 1);
});

const WRONG: readonly (readonly [place: RegExp, batch: Batch])[] = [
  [
    /at {8}inputIds\[1\]\[2\]\n {2}expected {2}an integer from 0 to 9\n {2}got {7}10/,
    rows([1, 2, 3], [1, 2, 10]),
  ],
  [/at {8}inputIds\[0\]\[0\]\n.*\n {2}got {7}-1/, rows([-1, 2], [1, 2])],
  [/at {8}inputIds\[0\]\[1\]\n.*\n {2}got {7}1.5/, rows([1, 1.5], [1, 2])],
  [/at {8}inputIds\[1\]\[1\]\n.*\n {2}got {7}NaN/, rows([1, 1], [1, Number.NaN])],
  [/at {8}inputIds\[1\]\[0\]\n.*\n {2}got {7}-100/, rows([1, 1], [-100, 1])],
  [/at {8}labels\[1\]\[1\]\n.*from 0 to 9, or -100 for none\n {2}got {7}10/, labelled([1, 2], [-100, 10])],
  [/at {8}labels\[0\]\[0\]\n.*\n {2}got {7}-1/, labelled([-1, 2], [1, 2])],
  [/at {8}labels\[0\]\[1\]\n.*\n {2}got {7}0.5/, labelled([1, 0.5], [1, 2])],
  [/rows of 2 ids, as the first\n {2}got {7}a row of 3/, labelled([1, 2], [1, 2, 3])],
  [/rows of 2 ids, as the first\n {2}got {7}a row of 1/, rows([1, 2], [1])],
  [/2 sequences: 1 per micro-batch/, rows([1, 2])],
  [/sequences of at least 2 ids\n {2}got {7}1/, rows([1], [2])],
  [/sequences of at least 1 ids\n {2}got {7}0/, { inputIds: [[], []], labels: [[], []] }],
  [/sequences of at most 4 ids, the model's longest\n {2}got {7}5/, rows([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])],
];

for (const [place, batch] of WRONG) {
  test(`a batch is refused: ${JSON.stringify(batch)}`, () => {
    assert.throws(
      () => cut(batch),
      (error) => {
        assert.ok(error instanceof TrainyardError);
        assert.equal(error.code, 'DATA_INVALID');
        assert.match(error.message, place);
        return true;
      },
    );
  });
}

function rows(...inputIds: readonly (readonly number[])[]): Batch {
  return { inputIds };
}

function labelled(...labels: readonly (readonly number[])[]): Batch {
  return { inputIds: labels.map(() => [1, 2]), labels };
}
