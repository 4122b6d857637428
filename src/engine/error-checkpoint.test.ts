import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FlatSlot } from '../nn/flat-layout.js';
import { ownChunks } from '../step/message-errors.js';
import type { Bucket, Program } from '../step/program.js';
import type { LoadedCheckpoint } from '../store/checkpoint.js';
import { tensor } from '../tensor/create.js';
import { type ErrorState, errorPieces, errorsToSave, isErrorTensor, loadErrors } from './error-checkpoint.js';
import { TrainingErrors } from './error-memory.js';

/** Two parameters with padding behind them. */
const LENGTH = 48;
const SLOTS: readonly FlatSlot[] = [
  ['first', 0, [5, 4]],
  ['second', 32, [7]],
].map(([name, offset, shape]) => ({
  name: name as string,
  localName: name as string,
  owner: name as string,
  trainable: true,
  offset: offset as number,
  elements: (shape as number[]).reduce((product, size) => product * size, 1),
  shape: shape as number[],
}));

/** The programs of so many ranks, in buckets that end there; without any, sums stay with their owners. */
function programsOf(ranks: number, ends: readonly number[]): readonly Program[] {
  const buckets = ends.map(
    (end, index): Bucket => ({
      start: ends[index - 1] ?? 0,
      end,
      parameters: [],
      blocks: [],
      carriesTally: end === LENGTH,
    }),
  );
  const data = Array.from({ length: ranks }, (_, rank) => rank);
  return data.map((rank) => ({
    errorFeedback: {
      of: 'gradients',
      worker: LENGTH,
      server: ownChunks({ rank, groups: { data }, buckets }),
    },
    rank,
    worldSize: ranks,
    goal: 'update',
    features: [],
    microBatches: 1,
    blocks: [],
    trainableElements: LENGTH,
    bytesPerElement: 4,
    batchBytes: 0,
    optimizerBytes: 0,
    groups: { data },
    buckets,
    instructions: [],
  }));
}

/** What every rank of a world has; a broadcast leaves each with its own part. */
function worldOf(ranks: number, ends: readonly number[], values: () => number): readonly ErrorState[] {
  const programs = programsOf(ranks, ends);
  return programs.map((program) => {
    assert.ok(program.errorFeedback);
    const errors = new TrainingErrors(program.errorFeedback, 'cpu');
    errors.expressIn(0.5);
    for (const each of [errors.worker, errors.server]) {
      each.copy_(tensor(Array.from({ length: each.elements }, values)));
    }
    const group = { rank: program.rank, worldSize: ranks };
    return { errors, programs, group };
  });
}

/** A checkpoint of what all ranks of a world have. */
function saved(world: readonly ErrorState[]): LoadedCheckpoint {
  const contents = new Map<string, { readonly shape: readonly number[]; readonly values: Float32Array }>();
  for (const state of world) {
    for (const { name, shape, start, elements, read } of errorPieces(state, SLOTS)) {
      const length = shape.reduce((product, size) => product * size, 1);
      const content = contents.get(name) ?? { shape, values: new Float32Array(length) };
      read(new Uint8Array(content.values.buffer, start * 4, elements * 4), 0);
      contents.set(name, content);
    }
  }
  const [first] = world;
  assert.ok(first);
  return {
    tag: 'step-1',
    state: { step: 1, data: { seed: 0, position: 0 }, random: {}, model: null, extra: errorsToSave(first) },
    names: ['first', ...contents.keys()],
    read(name) {
      const content = contents.get(name);
      assert.ok(content, name);
      const { shape, values } = content;
      const bytes = (from = 0, count = values.length) => new Uint8Array(values.buffer, from * 4, count * 4);
      return { dtype: 'float32', shape, bytes };
    },
    passedOver: [],
  };
}

/** By parameter element, all that any rank has lost. */
function totals(world: readonly ErrorState[]): readonly number[] {
  const sums = new Array<number>(LENGTH).fill(0);
  for (const [index, { errors, programs }] of world.entries()) {
    for (const [at, value] of errors.worker.toArray().entries()) sums[at] = (sums[at] ?? 0) + value;
    const server = errors.server.toArray();
    const program = programs[index];
    assert.ok(program);
    for (const { start, end, offset } of ownChunks(program)) {
      for (let at = start; at < end; at += 1) sums[at] = (sums[at] ?? 0) + (server[offset + at - start] ?? 0);
    }
  }
  return SLOTS.flatMap(({ offset, elements }) => sums.slice(offset, offset + elements));
}

function disposeAll(...worlds: readonly (readonly ErrorState[])[]): void {
  for (const { errors } of worlds.flat()) errors.dispose();
}

const layouts = fc.tuple(
  fc.integer({ min: 1, max: 4 }),
  fc.constantFrom([], [LENGTH], [11, LENGTH], [1, 30, 40, LENGTH]),
);

test('errors that are loaded are as many as were saved, whatever ranks and buckets', () => {
  fc.assert(
    fc.property(layouts, layouts, fc.integer(), ([ranks, ends], [newRanks, newEnds], seed) => {
      let state = seed;
      const next = () => {
        state = (state * 48_271 + 11) % 2_147_483_647;
        return (state % 1000) / 8;
      };
      const world = worldOf(ranks, ends, next);
      const target = worldOf(newRanks, newEnds, () => 1);
      const checkpoint = saved(world);
      const notes = target.map((each) => loadErrors(checkpoint, each, SLOTS));
      assert.deepEqual(new Set(notes.map(({ length }) => length)), new Set([ranks === newRanks ? 0 : 1]));
      const [expected, found] = [totals(world), totals(target)];
      for (const [at, value] of found.entries()) {
        assert.ok(Math.abs(value - (expected[at] ?? 0)) < 1e-3, `${value} for ${expected[at]} at ${at}`);
      }
      assert.ok(target.every(({ errors }) => errors.lossScale === 0.5));
      disposeAll(world, target);
    }),
  );
});

test('on as many ranks every rank gets its own errors back', () => {
  let value = 0;
  const world = worldOf(3, [11, LENGTH], () => (value += 1));
  const target = worldOf(3, [20, LENGTH], () => 1);
  const checkpoint = saved(world);
  for (const [rank, state] of target.entries()) {
    loadErrors(checkpoint, state, SLOTS);
    const [own, theirs] = [state.errors.worker.toArray(), world[rank]?.errors.worker.toArray()];
    for (const { offset, elements } of SLOTS) {
      assert.deepEqual(own.slice(offset, offset + elements), theirs?.slice(offset, offset + elements));
    }
  }
  disposeAll(world, target);
});

test('a run without error feedback says that it drops errors, and one with it begins without any', () => {
  const world = worldOf(2, [LENGTH], () => 2);
  const checkpoint = saved(world);
  assert.deepEqual(
    checkpoint.names.filter((name) => !isErrorTensor(name)),
    ['first'],
  );
  assert.match(loadErrors(checkpoint, undefined, SLOTS).join(), /dropped/);
  const none = { ...checkpoint, state: { ...checkpoint.state, extra: {} } };
  assert.deepEqual(loadErrors(none, undefined, SLOTS), []);
  const [state] = world;
  assert.ok(state);
  assert.deepEqual(loadErrors(none, state, SLOTS), []);
  assert.equal(state.errors.lossScale, undefined);
  assert.ok(state.errors.worker.toArray().every((value) => value === 0));
  assert.deepEqual(errorPieces(state, SLOTS), []);
  disposeAll(world);
});

test('a checkpoint that says something impossible of errors is refused', () => {
  const world = worldOf(2, [LENGTH], () => 2);
  const checkpoint = saved(world);
  const refused = { code: 'CHECKPOINT_INVALID' };
  const withExtra = (error_feedback: object) => ({
    ...checkpoint,
    state: { ...checkpoint.state, extra: { error_feedback: { ...error_feedback } } },
  });
  for (const extra of [{ ranks: 2 }, { ranks: 0, loss_scale: 1 }, { ranks: 5, loss_scale: 1 }]) {
    assert.throws(() => loadErrors(withExtra(extra), world[0], SLOTS), refused, JSON.stringify(extra));
  }
  disposeAll(world);
});
