import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Transfer } from '../tensor/flat-store.js';
import { TilePipeline, type TilePipelineOptions, type TileWork } from './tile-pipeline.js';

/** All at once. */
function runTiles(
  tiles: readonly TileWork[],
  options: TilePipelineOptions,
  beside?: readonly (() => void)[],
): void {
  new TilePipeline(tiles, options, beside).advance(1);
}

/** Tiles over slots that say when something is in memory that something else is still on its way through. */
class Disk {
  readonly log: string[] = [];
  readonly values: number[];
  readonly #slots: (number | undefined)[];
  readonly #busy = new Set<number>();
  reading = 0;
  writing = 0;
  /** The most that was under way beside an update. */
  mostBeside = 0;

  constructor(tiles: number, slots: number) {
    this.values = Array.from({ length: tiles }, (_, index) => index);
    this.#slots = new Array<number | undefined>(slots).fill(undefined);
  }

  tiles(failing = -1): readonly TileWork[] {
    return this.values.map((_, index) => ({
      read: (slot) => {
        this.#take(slot);
        this.reading += 1;
        return [
          this.#transfer(
            slot,
            () => (this.reading -= 1),
            () => (this.#slots[slot] = this.values[index]),
          ),
        ];
      },
      update: (slot) => {
        assert.ok(!this.#busy.has(slot), `tile ${index} is updated while slot ${slot} is read or written`);
        assert.equal(this.#slots[slot], index, `slot ${slot} has another tile than ${index}`);
        this.mostBeside = Math.max(this.mostBeside, Math.min(this.reading, 1) + Math.min(this.writing, 1));
        this.#slots[slot] = index + 1000;
        if (index === failing) throw new Error('an update failed');
      },
      write: (slot) => {
        this.#take(slot);
        this.writing += 1;
        return [
          this.#transfer(
            slot,
            () => (this.writing -= 1),
            () => (this.values[index] = this.#slots[slot] ?? -1),
          ),
        ];
      },
    }));
  }

  #take(slot: number): void {
    assert.ok(!this.#busy.has(slot), `slot ${slot} is taken twice`);
    this.#busy.add(slot);
  }

  #transfer(slot: number, count: () => void, finish: () => void): Transfer {
    let isDone = false;
    return {
      wait: () => {
        if (isDone) return;
        isDone = true;
        finish();
        count();
        this.#busy.delete(slot);
      },
    };
  }
}

/** Half of the slots are for tiles on their way back, where these may be late. */
function mostAhead({ slots, writesBehind }: TilePipelineOptions): number {
  return writesBehind ? Math.floor(slots / 2) : slots - 1;
}

const options = fc.record({
  slots: fc.integer({ min: 1, max: 6 }),
  readsAhead: fc.boolean(),
  writesBehind: fc.boolean(),
});

test('every tile is read, updated and written once, in a slot that nothing else uses meanwhile', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 20 }), options, (count, pipeline) => {
      const disk = new Disk(count, pipeline.slots);
      runTiles(disk.tiles(), pipeline);
      assert.deepEqual(
        disk.values,
        Array.from({ length: count }, (_, index) => index + 1000),
      );
      assert.equal(disk.reading + disk.writing, 0);
    }),
  );
});

test('at any pace, with work beside: each once and in order, and what is on its way stays so', () => {
  const pace = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 });
  fc.assert(
    fc.property(fc.nat(12), fc.nat(12), options, pace, (count, besides, pipeline, shares) => {
      const disk = new Disk(count, pipeline.slots);
      const done: number[] = [];
      const beside = Array.from({ length: besides }, (_, index) => () => void done.push(index));
      const run = new TilePipeline(disk.tiles(), pipeline, beside);
      assert.equal(disk.reading, pipeline.readsAhead ? Math.min(count, mostAhead(pipeline)) : 0);
      for (const share of shares.sort((left, right) => left - right)) {
        run.advance(share);
        assert.ok(done.length >= Math.floor(share * besides));
      }
      run.advance(1);
      assert.deepEqual(done, [...beside.keys()]);
      assert.deepEqual(
        disk.values,
        Array.from({ length: count }, (_, index) => index + 1000),
      );
      assert.equal(disk.reading + disk.writing, 0);
    }),
  );
});

test('up to a tile, and up to work beside: no further than need be, and what is waited for is written', () => {
  const aims = fc.array(fc.record({ tiles: fc.nat(12), beside: fc.nat(12) }), { maxLength: 6 });
  fc.assert(
    fc.property(fc.nat(12), fc.nat(12), options, aims, (count, besides, pipeline, ends) => {
      const disk = new Disk(count, pipeline.slots);
      let done = 0;
      const beside = Array.from({ length: besides }, () => () => {
        done += 1;
      });
      const run = new TilePipeline(disk.tiles(), pipeline, beside);
      for (const end of ends) {
        const [tiles, works] = [Math.min(count, end.tiles), Math.min(besides, end.beside)];
        const written = run.advanceTo({ tiles, beside: works });
        assert.ok(done >= works);
        written.wait();
        assert.deepEqual(
          disk.values.slice(0, tiles),
          Array.from({ length: tiles }, (_, index) => index + 1000),
        );
        const furthest = Math.max(...ends.slice(0, ends.indexOf(end) + 1).map((each) => each.tiles));
        assert.ok(disk.values.slice(furthest).every((value) => value < 1000));
      }
      run.advance(1);
      assert.equal(done, besides);
      assert.equal(disk.reading + disk.writing, 0);
    }),
  );
});

test('what is in memory is worked on while the first tile is read', () => {
  const disk = new Disk(1, 3);
  let under = 0;
  runTiles(disk.tiles(), { slots: 3, readsAhead: true, writesBehind: true }, [() => (under = disk.reading)]);
  assert.equal(under, 1);
});

test('with three slots one tile is read and one written while one is updated, and not otherwise', () => {
  const beside = (slots: number, readsAhead: boolean, writesBehind: boolean): number => {
    const disk = new Disk(9, slots);
    runTiles(disk.tiles(), { slots, readsAhead, writesBehind });
    return disk.mostBeside;
  };
  assert.equal(beside(3, true, true), 2);
  assert.equal(beside(4, true, true), 2);
  assert.equal(beside(3, true, false), 1);
  assert.equal(beside(3, false, true), 1);
  assert.equal(beside(3, false, false), 0);
  assert.equal(beside(1, true, true), 0);
});

test('after a failure nothing is on its way any more', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 20 }), fc.nat(19), options, (count, at, pipeline) => {
      fc.pre(at < count);
      const disk = new Disk(count, pipeline.slots);
      assert.throws(() => runTiles(disk.tiles(at), pipeline), /an update failed/);
      assert.equal(disk.reading + disk.writing, 0);
    }),
  );
});
