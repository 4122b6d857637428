import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { planFlatLayout } from '../nn/flat-layout.js';
import type { Precision } from '../precision/config.js';
import { checkPrograms } from '../step/checker.js';
import { instructionText } from '../step/instruction-text.js';
import type { Program } from '../step/program.js';
import { compileProgram, type ProgramInputs } from './compile-program.js';

/** Programs of all ranks of an optimizer whose ranks exchange a momentum, for random models and settings. */
const worlds = fc
  .record({
    sizes: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 4 }),
    worldSize: fc.integer({ min: 1, max: 4 }),
    stage: fc.constantFrom(0 as const, 1 as const),
    microBatches: fc.integer({ min: 1, max: 2 }),
    bucketElements: fc.integer({ min: 1, max: 100 }),
    overlap: fc.boolean(),
    isFrozen: fc.boolean(),
    isWhole: fc.boolean(),
    precision: fc.constantFrom<Precision>(
      { dtype: 'float32' },
      { dtype: 'float16', scaling: { kind: 'static', scale: 8 } },
    ),
  })
  .map((random): readonly Program[] => {
    const initializer = { kind: 'constant', value: 0 } as const;
    const blocks = random.sizes.map((size, index) => ({
      name: `block${index}`,
      parameters: [{ name: 'weight', shape: [size], initializer }],
    }));
    const layout = planFlatLayout(blocks, undefined, random.worldSize);
    const { stage, overlap, bucketElements, isFrozen, isWhole } = random;
    const zero = {
      stage,
      overlap,
      bucketElements,
      sameOrder: false,
      persistenceThreshold: 0,
      mostPersistentElements: 0,
      mostReuseDistance: 0,
      prefetchElements: 0,
      mostLiveElements: 1,
    };
    const inputs: Omit<ProgramInputs, 'rank'> = {
      mesh: { pipeline: 1, data: random.worldSize, tensor: 1 },
      goal: 'update',
      microBatches: random.microBatches,
      blocks: blocks.map(({ name }) => ({ name, activationBytes: 100, outputBytes: 10 })),
      layout,
      bytesPerElement: 4,
      batchBytes: 16,
      optimizerBytes: layout.trainableElements * 8,
      schedule: {},
      recomputed: new Set(),
      gradients: { bucketElements, overlap },
      ...(stage === 1 && { zero: { ...zero, stage } }),
      momentum: { decay: 0.9, bucketElements, isFrozen, isWhole: stage === 0 || isWhole },
      precision: random.precision,
    };
    return Array.from({ length: random.worldSize }, (_, rank) => compileProgram({ ...inputs, rank }));
  });

test('every program of a momentum passes its check', () => {
  fc.assert(
    fc.property(worlds, (programs) => void checkPrograms(programs)),
    { numRuns: 200 },
  );
});

test('once frozen, ranks sum the momentum and nothing else, and one of one rank sends nothing', () => {
  fc.assert(
    fc.property(worlds, (programs) => {
      const [program] = programs;
      assert.ok(program);
      const sums = program.instructions.filter(({ op }) => op === 'reduce' || op === 'scatter');
      const ofMomentum = program.instructions.filter(
        (each) => each.op === 'reduce' && each.of === 'momentum',
      );
      const accumulates = program.instructions.filter(({ op }) => op === 'accumulate').length;
      if (program.exchanges === undefined) {
        assert.deepEqual([ofMomentum.length, accumulates], [0, 0]);
        return;
      }
      assert.equal(accumulates, 1);
      assert.equal(sums.length, ofMomentum.length);
      assert.equal(sums.length, program.worldSize === 1 ? 0 : program.buckets.length);
      const covered = program.buckets.reduce((sum, { start, end }) => sum + end - start, 0);
      assert.equal(covered, program.worldSize === 1 ? 0 : program.trainableElements);
    }),
  );
});

test('no instruction of it can be left out, and none can come twice', () => {
  fc.assert(
    fc.property(worlds, fc.nat(), fc.boolean(), (programs, position, twice) => {
      const [first, ...others] = programs;
      assert.ok(first);
      const instructions = [...first.instructions];
      const at = position % instructions.length;
      const chosen = instructions[at];
      assert.ok(chosen);
      // A sum that is checked twice is the same sum.
      if (twice && (chosen.op === 'check' || chosen.op === 'clip' || chosen.op === 'clear')) return;
      instructions.splice(at, twice ? 0 : 1, ...(twice ? [chosen] : []));
      assert.throws(
        () => checkPrograms([{ ...first, instructions }, ...others]),
        (error) => error instanceof TrainyardError && error.code === 'PROGRAM_INVALID',
        `${twice ? 'twice' : 'without'} ${instructionText(chosen)}`,
      );
    }),
    { numRuns: 300 },
  );
});
