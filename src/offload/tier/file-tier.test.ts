import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../../base/errors.js';
import type { OptimizerUpdate } from '../../optim/optimizer/update-rule.js';
import { OptimizerGroup } from '../../optim/optimizer-group.js';
import { aioSchema } from '../../store/config.js';
import { openDirectFolder } from '../../store/direct-files/open-folder.js';
import type { Fault } from '../../store/direct-files/transfer-queue.js';
import type { DirectFolder } from '../../store/direct-files.js';
import { tensor } from '../../tensor/create.js';
import type { FlatStore } from '../../tensor/flat-store.js';
import { scope, type Tensor } from '../../tensor/tensor.js';
import { LeavingOptimizer } from '../leaving-optimizer.js';
import { TiledOptimizer, type TiledPiece } from '../tiled-optimizer.js';
import { FileTier } from './file-tier.js';

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-tier-'));
});
after(() => rmSync(root, { recursive: true }));

function openFolder(fault?: Fault): DirectFolder {
  return openDirectFolder(root, {
    setting: 'a test',
    mark: 'test',
    aio: aioSchema.parse(undefined),
    ...(fault && { fault }),
  });
}

function numbers(elements: number, seed: number): Float32Array {
  return Float32Array.from({ length: elements }, (_, index) => Math.sin(index * 0.7 + seed));
}

test('any part of a slice is read as it was written last, wherever it begins and ends', () => {
  const LENGTH = 5000;
  const part = fc.tuple(fc.nat(LENGTH - 1), fc.integer({ min: 1, max: LENGTH }), fc.nat(50));
  const tier = new FileTier(openFolder());
  const [store] = tier.allocate('numbers', [LENGTH], 'float32');
  assert.ok(store);
  const known = new Float32Array(LENGTH);
  fc.assert(
    fc.property(fc.array(part, { minLength: 1, maxLength: 4 }), part, (writes, [from, most]) => {
      scope(() => {
        for (const [start, length, seed] of writes) {
          const values = numbers(Math.min(length, LENGTH - start), seed);
          store.write(tensor(values), start).wait();
          known.set(values, start);
        }
        const read = tensor(new Float32Array(Math.min(most, LENGTH - from)));
        store.read(read, from).wait();
        assert.deepEqual(Float32Array.from(read.toArray()), known.slice(from, from + read.elements));
      });
    }),
    { numRuns: 40 },
  );
  tier.close();
});

const CONFIG = {
  type: 'AdamW',
  params: { lr: 0.01, betas: [0.9, 0.99], eps: 1e-8, weight_decay: 0.1 },
} as const;
const UPDATE = { learningRate: 0.01, gradientScale: 0.5 };
const LENGTHS = [7000, 0, 2049];

function updateAll(tiled: TiledOptimizer, update: OptimizerUpdate): void {
  scope(() => tiled.begin(update).advance(1));
}

function pieces(tier: FileTier): readonly TiledPiece[] {
  const [weights, gradients, first, second] = ['weights', 'gradients', 'exp_avg', 'exp_avg_sq'].map((name) =>
    tier.allocate(name, LENGTHS, 'float32'),
  );
  return LENGTHS.map((length, index) => {
    const of = (stores: readonly FlatStore[] | undefined): FlatStore => {
      const store = stores?.[index];
      assert.ok(store);
      return store;
    };
    scope(() => {
      if (length === 0) return;
      of(weights)
        .write(tensor(numbers(length, index)), 0)
        .wait();
      of(gradients)
        .write(tensor(numbers(length, index + 9)), 0)
        .wait();
    });
    return { weights: of(weights), gradients: of(gradients), states: [of(first), of(second)] };
  });
}

test('an update in tiles of files comes to the bits of one in memory', () => {
  const memories = LENGTHS.map((length, index) => ({
    parameters: tensor(numbers(length, index)),
    gradients: tensor(numbers(length, index + 9)),
  }));
  const inMemory = new OptimizerGroup(CONFIG, memories);
  for (const [slots, isBeside] of [
    [1, false],
    [2, true],
    [3, true],
  ] as const) {
    const tier = new FileTier(openFolder());
    const parts = pieces(tier);
    const options = { slots, elements: 2048, readsAhead: isBeside, writesBehind: isBeside } as const;
    const tiled = new TiledOptimizer(CONFIG, parts, { ...options, device: 'cpu', isPinned: false });
    for (const step of [1, 2, 3]) updateAll(tiled, { ...UPDATE, step });
    if (slots === 1) for (const step of [1, 2, 3]) inMemory.step({ ...UPDATE, step });
    for (const [index, { weights }] of parts.entries()) {
      const expected = memories[index]?.parameters.toArray();
      assert.deepEqual(contentOf(weights as FlatStore), expected, `${slots} slots, piece ${index}`);
    }
    tiled.dispose();
    tier.close();
  }
  inMemory.dispose();
});

function contentOf(store: FlatStore): number[] {
  return scope(() => {
    const whole: Tensor = tensor(new Float32Array(store.elements));
    if (store.elements > 0) store.read(whole, 0).wait();
    return whole.toArray();
  });
}

const HALVES = { slots: 4, elements: 2048, readsAhead: true, writesBehind: true } as const;

test('an update that was left, piece by piece and broken off anywhere, comes to the same bits', () => {
  const finished = new FileTier(openFolder());
  const expected = pieces(finished);
  const atOnce = new TiledOptimizer(CONFIG, expected, { ...HALVES, device: 'cpu', isPinned: false });
  for (const step of [1, 2, 3]) updateAll(atOnce, { ...UPDATE, step });
  const bits = expected.map(({ weights }) => contentOf(weights as FlatStore));
  for (const last of [...LENGTHS.keys()]) {
    const tier = new FileTier(openFolder());
    const parts = pieces(tier);
    const leaving = new LeavingOptimizer(
      new TiledOptimizer(CONFIG, parts, { ...HALVES, device: 'cpu', isPinned: false }),
    );
    for (const step of [1, 2, 3]) {
      leaving.step({ ...UPDATE, step });
      for (let piece = 0; piece <= last; piece += 1) {
        scope(() => leaving.pending.bringUpTo(piece).wait());
        // Its weights can be read, whatever is still on its way.
        if (step === 3) assert.deepEqual(contentOf(parts[piece]?.weights as FlatStore), bits[piece]);
      }
      if (last < LENGTHS.length - 1) leaving.pending.finish();
    }
    leaving.pending.finish();
    assert.deepEqual(
      parts.map(({ weights }) => contentOf(weights as FlatStore)),
      bits,
    );
    leaving.dispose();
    tier.close();
  }
  atOnce.dispose();
  finished.close();
});

test('an update that failed half way is not gone on with: whoever would use its weights is told again', () => {
  const tier = new FileTier(openFolder({ at: 20, error: constants.errno.EIO }));
  const leaving = new LeavingOptimizer(
    new TiledOptimizer(CONFIG, pieces(tier), { ...HALVES, device: 'cpu', isPinned: false }),
  );
  const fails = (body: () => void): void =>
    assert.throws(
      () => scope(body),
      (thrown) => thrown instanceof TrainyardError && thrown.code === 'OFFLOAD_FAILED',
    );
  fails(() => {
    for (const step of [1, 2, 3]) {
      leaving.step({ ...UPDATE, step });
      leaving.pending.finish();
    }
  });
  fails(() => leaving.pending.finish());
  fails(() => leaving.pending.bringUpTo(0));
  // Weights and states are read from elsewhere.
  leaving.pending.discard();
  scope(() => leaving.pending.finish());
  leaving.dispose();
  tier.close();
});

test('a disk that fails ends the update with an error that says where, and nothing is left', () => {
  for (const error of [constants.errno.EIO, constants.errno.ENOSPC]) {
    const tier = new FileTier(openFolder({ at: 20, error }));
    const options = { slots: 3, elements: 2048, readsAhead: true, writesBehind: true } as const;
    const tiled = new TiledOptimizer(CONFIG, pieces(tier), { ...options, device: 'cpu', isPinned: false });
    assert.throws(
      () => {
        for (const step of [1, 2, 3]) updateAll(tiled, { ...UPDATE, step });
      },
      (thrown) => thrown instanceof TrainyardError && thrown.code === 'OFFLOAD_FAILED',
    );
    tiled.dispose();
    tier.close();
  }
  assert.deepEqual(readdirSync(root), []);
});
