import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../src/base/errors.js';
import type { ProgramInputs } from '../src/engine/compile-program.js';
import { checkPrograms } from '../src/step/checker.js';
import type { Instruction } from '../src/step/instruction.js';
import type { Program } from '../src/step/program.js';
import { compileSample } from './compile-sample.js';

const anyCase = fc.record({
  sizes: fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 4 }),
  groups: fc.integer({ min: 2, max: 3 }),
  size: fc.integer({ min: 2, max: 3 }),
  micros: fc.integer({ min: 1, max: 3 }),
  bucketElements: fc.integer({ min: 1, max: 100 }),
  overlap: fc.boolean(),
  stage: fc.constantFrom(1 as const, 2 as const, 3 as const),
});

type Case = typeof anyCase extends fc.Arbitrary<infer Value> ? Value : never;

function compile(
  { sizes, groups, size, micros, bucketElements, overlap, stage }: Case,
  redundancy: Pick<ProgramInputs, 'groupSize' | 'secondarySize'> = { groupSize: size },
): readonly Program[] {
  const zero = { stage, bucketElements, sameOrder: false };
  return compileSample({ sizes, ranks: groups * size, micros, overlap, zero }, redundancy);
}

test('once per step every slice is summed over the groups, and nothing else leaves a group', () => {
  fc.assert(
    fc.property(anyCase, (of) => {
      const programs = compile(of);
      for (const [rank, { collectives }] of checkPrograms(programs).entries()) {
        const program = programs[rank];
        assert.ok(program);
        const { groups, trainableElements } = program;
        assert.deepEqual([groups.data.length, groups.replicate?.length], [of.size, of.groups]);
        const across = collectives.filter(({ group }) => group === 'replicate');
        assert.deepEqual(across.map(({ kind, count }) => [kind, count]).sort(), [
          ['all-gather', 1],
          ['all-reduce', of.sizes.length],
        ]);
        const sums = across.find(({ kind }) => kind === 'all-reduce');
        assert.equal(sums?.elements, trainableElements / of.size);
        const inside = collectives.filter(({ group }) => group !== 'replicate');
        assert.ok(inside.every(({ group }) => group === 'data'));
      }
    }),
  );
});

/** Of every rank's program the instructions that are left. */
function withOnly(
  programs: readonly Program[],
  isLeft: (instruction: Instruction) => boolean,
): readonly Program[] {
  return programs.map((program) => ({ ...program, instructions: program.instructions.filter(isLeft) }));
}

function subjectOf(instruction: Instruction): Instruction {
  return instruction.op === 'wait' ? instruction.started : instruction;
}

test('a slice that is not summed over the groups, or too early, is refused', () => {
  fc.assert(
    fc.property(anyCase, fc.nat(), (of, choice) => {
      const programs = compile(of);
      const block = choice % of.sizes.length;
      const isSum = (each: Instruction): boolean => {
        const subject = subjectOf(each);
        return subject.op === 'sum' && subject.block === block;
      };
      const refused = (changed: readonly Program[]): void =>
        assert.throws(
          () => checkPrograms(changed),
          (error) => error instanceof TrainyardError && error.code === 'PROGRAM_INVALID',
        );
      refused(withOnly(programs, (each) => !isSum(each)));
      refused(
        withOnly(programs, (each) => {
          const subject = subjectOf(each);
          return !(subject.op === 'agree' && subject.over === 'replicate');
        }),
      );
      const sum = { op: 'sum', block } as const;
      refused(
        programs.map((program) => {
          const rest = program.instructions.filter((each) => !isSum(each));
          const first = rest.findIndex((each) => {
            const subject = subjectOf(each);
            const part = subject.op === 'scatter' ? program.sharding?.parts[subject.part] : undefined;
            return each.op === 'wait' && part?.block === block;
          });
          const added: readonly Instruction[] = [sum, { op: 'wait', started: sum }];
          const instructions = [...rest.slice(0, first), ...added, ...rest.slice(first)];
          return { ...program, instructions };
        }),
      );
    }),
  );
});

test('with a second copy no parameter leaves the host in backward, and each does once in a step', () => {
  fc.assert(
    fc.property(anyCase, (any) => {
      const of: Case = { ...any, stage: 3 };
      const programs = compile(of, { secondarySize: of.size });
      checkPrograms(programs);
      for (const { instructions, groups, copiedBlocks = [] } of programs) {
        const gathers = instructions.flatMap((each) => (each.op === 'gather' ? [each] : []));
        const far = gathers.filter(({ from }) => from === undefined).map(({ block }) => block);
        assert.deepEqual([...far].sort(), [...of.sizes.keys()]);
        const first = instructions.findIndex(({ op }) => op === 'backward');
        assert.ok(
          instructions.slice(first).every((each) => each.op !== 'gather' || each.from === 'secondary'),
        );
        if (copiedBlocks.length > 0) assert.equal(groups.secondary?.length, of.size);
      }
      const copies = (each: Instruction): boolean => each.op === 'copy';
      if (!programs.some(({ instructions }) => instructions.some(copies))) return;
      assert.throws(
        () => checkPrograms(withOnly(programs, (each) => !copies(each))),
        (error) => error instanceof TrainyardError && error.code === 'PROGRAM_INVALID',
      );
    }),
  );
});
