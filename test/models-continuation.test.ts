import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Continuation } from '../src/models/continuation.js';
import { liveTensors, scope } from '../src/tensor/tensor.js';
import { setThreads } from '../src/tensor/threads.js';
import { type Expected, loadHarness, readJson, readSequences } from './models-harness.js';

const FIXTURES = join(import.meta.dirname, '../../test/fixtures/models');
const FOLDERS = readdirSync(FIXTURES).filter((name) => statSync(join(FIXTURES, name)).isDirectory());

setThreads(1);

function near(actual: Float32Array, expected: ArrayLike<number>, tolerance: number): void {
  assert.equal(actual.length, expected.length);
  for (const [index, value] of actual.entries()) {
    const difference = Math.abs(value - (expected[index] ?? Number.NaN));
    assert.ok(difference <= tolerance, `logit ${index}: ${value}, expected ${expected[index]}`);
  }
}

assert.ok(FOLDERS.length > 0);
for (const name of FOLDERS) {
  test(`${name}: read in pieces, a text has the logits of the whole`, () => {
    const folder = join(FIXTURES, name);
    const { model, flat } = loadHarness(folder);
    const [tokens = []] = readSequences(folder, 1);
    const { logits_0_last: expected } = readJson<Expected>(folder, 'expected.json');
    const text = new Continuation(model, flat.blocks, { device: 'cpu', capacity: tokens.length });
    text.next(tokens.slice(0, 9));
    for (const token of tokens.slice(9, 14)) text.next([token]);
    near(text.next(tokens.slice(14)), expected, 1e-4);
    text.dispose();
    flat.dispose();
  });
}

test('a text longer than the capacity goes on from its last half', () => {
  const folder = join(FIXTURES, 'gpt2-relu');
  const { model, flat } = loadHarness(folder);
  const longest = model.maximumLength ?? 0;
  const tokens = Array.from({ length: longest + 1 }, (_, index) => (7 * index) % model.vocabularySize);
  const long = new Continuation(model, flat.blocks, { device: 'cpu', capacity: 1000 });
  long.next(tokens.slice(0, longest));
  const short = new Continuation(model, flat.blocks, { device: 'cpu', capacity: longest });
  near(long.next(tokens.slice(longest)), short.next(tokens.slice(-longest / 2)), 1e-6);
  for (const each of [long, short, flat]) each.dispose();
});

test('what a continuation keeps is freed, and does not grow', () => {
  const { model, flat } = loadHarness(join(FIXTURES, 'llama-gqa-tied'));
  const first = new Continuation(model, flat.blocks, { device: 'cpu', capacity: 16 });
  first.next([1, 2, 3]);
  const withOne = liveTensors();
  for (let token = 0; token < 30; token += 1) first.next([token]);
  assert.equal(liveTensors(), withOne);
  const second = new Continuation(model, flat.blocks, { device: 'cpu', capacity: 16 });
  scope(() => second.next([4]));
  second.dispose();
  assert.equal(liveTensors(), withOne);
  first.dispose();
  flat.dispose();
});
