import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../src/base/errors.js';
import type { OffloadStateOptions } from '../src/offload/offload-state.js';
import { checkPrograms } from '../src/step/checker.js';
import type { Instruction } from '../src/step/instruction.js';
import type { Program } from '../src/step/program.js';
import { compileSample } from './compile-sample.js';

const anyCase = fc.record({
  sizes: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 }),
  ranks: fc.integer({ min: 1, max: 3 }),
  micros: fc.integer({ min: 1, max: 3 }),
  overlap: fc.boolean(),
  sameOrder: fc.boolean(),
  stage: fc.constantFrom(1 as const, 2 as const, 3 as const),
  dtype: fc.constantFrom('float32' as const, 'bfloat16' as const),
  tier: fc.constantFrom('nvme' as const, 'host' as const),
  moves: fc.constantFrom('optimizer' as const, 'parameters' as const, 'both' as const),
  ratio: fc.constantFrom(1, 1, 0.3, 0.6, 0.9),
  isDelayed: fc.boolean(),
  mostResident: fc.integer({ min: 0, max: 60 }),
  blocksAhead: fc.integer({ min: 1, max: 4 }),
  elementsAhead: fc.integer({ min: 1, max: 200 }),
});

type Case = typeof anyCase extends fc.Arbitrary<infer Value> ? Value : never;

function optionsOf({ moves, tier, ...of }: Case): OffloadStateOptions {
  const { mostResident, blocksAhead, elementsAhead } = of;
  const parameters = { tier, mostResident, blocksAhead, elementsAhead };
  const { ratio } = of;
  const isDelayed = of.isDelayed && of.stage > 1 && ratio === 1;
  return {
    ...(moves !== 'parameters' && { optimizer: { tier, ratio, isDelayed } }),
    ...(moves !== 'optimizer' && of.stage === 3 && { parameters }),
    tiles: { count: 3, elements: 2048 },
  };
}

function compile(of: Case): readonly Program[] {
  const { sizes, ranks, micros, overlap, stage, sameOrder, dtype } = of;
  const zero = { stage, bucketElements: 50, sameOrder };
  return compileSample(
    { sizes, ranks, micros, overlap, zero },
    {
      offload: optionsOf(of),
      hostIsApart: of.tier === 'host',
      precision: dtype === 'float32' ? { dtype } : { dtype, checksOverflow: true },
    },
  );
}

test('every program with training state in files passes its check, for all ranks together', () => {
  fc.assert(
    fc.property(anyCase, (of) => {
      checkPrograms(compile(of));
    }),
  );
});

test('each gather of a block that is not resident has one fetch, no earlier than there is room for it', () => {
  fc.assert(
    fc.property(anyCase, (of) => {
      for (const { instructions, offload, sharding } of compile(of)) {
        const fetched = new Set(offload?.parameters?.blocks);
        const ahead: number[] = [];
        for (const each of instructions) {
          if (each.op === 'fetch' && each.memory === 'parameters') {
            const elements = [...ahead, each.block].reduce((sum, block) => {
              const { start = 0, end = 0 } = sharding?.ranges[block] ?? {};
              return sum + end - start;
            }, 0);
            const isNeeded = ahead.length === 0;
            assert.ok(isNeeded || (ahead.length < of.blocksAhead && elements <= of.elementsAhead));
            ahead.push(each.block);
          }
          if (each.op === 'gather' && fetched.has(each.block)) assert.equal(ahead.shift(), each.block);
        }
        assert.deepEqual(ahead, []);
        // What the optimizer has on the device has nothing elsewhere.
        const updated = offload?.optimizer?.blocks ?? [...(sharding?.ranges.keys() ?? [])];
        const resident = updated.filter((block) => !fetched.has(block));
        const elements = resident.reduce((sum, block) => {
          const { start = 0, end = 0 } = sharding?.ranges[block] ?? {};
          return sum + (end - start) / of.ranks;
        }, 0);
        assert.ok(offload?.parameters === undefined || elements <= of.mostResident);
      }
    }),
  );
});

test('gradients that are released reach their tier once per sum, those of the optimizer alone', () => {
  fc.assert(
    fc.property(anyCase, (of) => {
      const [program] = compile(of);
      assert.ok(program);
      const evictions = program.instructions.filter(({ op }) => op === 'evict').length;
      const isEvery = program.sharding?.reductions === 'every micro-batch';
      const moves = of.stage > 1 && of.moves !== 'parameters';
      const moved = moves ? (program.offload?.gradients?.blocks.length ?? 0) : 0;
      if (of.ratio === 1) assert.equal(moved, moves ? of.sizes.length : 0);
      assert.equal(evictions, moved * (isEvery ? of.micros : 1));
      const kept = program.instructions.filter((each) => each.op === 'fetch' && each.memory === 'gradients');
      assert.equal(kept.length, isEvery ? moved * (of.micros - 1) : 0);
    }),
  );
});

test('at least the ratio of the state is offloaded, in whole blocks, and no block more than need be', () => {
  fc.assert(
    fc.property(anyCase, (of) => {
      for (const { offload, sharding, instructions } of compile({ ...of, moves: 'both' })) {
        const lengths = (sharding?.ranges ?? []).map(({ start, end }) => (end - start) / of.ranks);
        const owned = lengths.reduce((sum, length) => sum + length, 0);
        const moved = new Set(offload?.optimizer?.blocks);
        const room = lengths.reduce(
          (left, length, block) => (moved.has(block) ? left : left - length),
          (1 - of.ratio) * owned,
        );
        assert.ok(room >= -1e-9);
        for (const block of moved) assert.ok((lengths[block] ?? 0) > room);
        for (const each of instructions) {
          const subject = each.op === 'wait' ? each.started : each;
          if (subject.op === 'fetch' || subject.op === 'evict') assert.ok(moved.has(subject.block));
        }
      }
    }),
  );
});

test('each block is updated once, before it is used, while a block before it computes', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 8, maxLength: 10 });
  fc.assert(
    fc.property(anyCase, sizes, (of, blocks) => {
      // Alike, so that all come to their turn by the same way.
      const alike = { ratio: 1, mostResident: 0, elementsAhead: 1000, isDelayed: false } as const;
      const [program] = compile({ ...of, ...alike, sizes: blocks });
      assert.ok(program);
      const at = (isWanted: (each: Instruction) => boolean): number =>
        program.instructions.findIndex(isWanted);
      for (const block of blocks.keys()) {
        const start = at((each) => each.op === 'update' && 'block' in each && each.block === block);
        const written = at(
          (each) =>
            each.op === 'wait' &&
            each.started.op === 'update' &&
            'block' in each.started &&
            each.started.block === block,
        );
        const used = at((each) => (each.op === 'fetch' || each.op === 'gather') && each.block === block);
        assert.ok(start !== -1 && start < written && written < used, `block ${block}`);
        const under = program.instructions.slice(start, written);
        // The first ones are fetched ahead, before any block computes.
        if (block > of.blocksAhead + 1)
          assert.ok(
            under.some(({ op }) => op === 'forward'),
            `block ${block}`,
          );
      }
    }),
  );
});

/** What moves training state between tiers, and what a delayed update is made by. */
function isMove(instruction: Instruction): boolean {
  const subject = instruction.op === 'wait' ? instruction.started : instruction;
  return ['fetch', 'evict', 'adopt', 'update'].includes(subject.op);
}

test('a program that lacks any one of its moves, or its wait, is refused', () => {
  fc.assert(
    fc.property(anyCase, fc.nat(), (of, choice) => {
      const programs = compile(of);
      const [first] = programs;
      assert.ok(first);
      const moves = [...first.instructions.keys()].filter((at) => {
        const instruction = first.instructions[at];
        return instruction !== undefined && isMove(instruction);
      });
      fc.pre(moves.length > 0);
      const left = moves[choice % moves.length];
      const changed = { ...first, instructions: first.instructions.filter((_, at) => at !== left) };
      assert.throws(
        () => checkPrograms([changed, ...programs.slice(1)]),
        (error) => error instanceof TrainyardError && error.code === 'PROGRAM_INVALID',
      );
    }),
  );
});
