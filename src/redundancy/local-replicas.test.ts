import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { checkPrograms } from '../step/checker.js';
import { emptyProgram } from '../step/empty-program.js';
import type { Instruction } from '../step/instruction.js';
import { schedule } from '../step/passes/schedule.js';
import type { Program } from '../step/program.js';
import { type ReplicaMeeting, separateReplicas, synchronizeReplicas } from './local-replicas.js';

interface Case {
  readonly ranks: number;
  readonly micros: number;
  /** Elements of a rank's slice. */
  readonly slice: number;
  readonly outerTensors: number;
}

const anyCase = fc.record({
  ranks: fc.integer({ min: 1, max: 8 }),
  micros: fc.integer({ min: 1, max: 3 }),
  slice: fc.integer({ min: 1, max: 1000 }),
  outerTensors: fc.integer({ min: 1, max: 2 }),
});

function base({ ranks, micros, slice }: Case, rank: number): Program {
  const elements = ranks * slice;
  const whole = {
    name: 'p',
    localName: 'p',
    owner: 'p',
    trainable: true,
    offset: 0,
    elements,
    shape: [elements],
  };
  return emptyProgram({
    rank,
    worldSize: ranks,
    microBatches: micros,
    blocks: [{ name: 'only', parameters: [whole], activationBytes: 8, outputBytes: 8 }],
    trainableElements: elements,
    optimizerBytes: 100,
  });
}

function compile(of: Case, meeting: ReplicaMeeting | undefined): readonly Program[] {
  return Array.from({ length: of.ranks }, (_, rank) => {
    const apart = separateReplicas(meeting)(schedule({})(base(of, rank)));
    return meeting?.synchronizes ? synchronizeReplicas(apart) : apart;
  });
}

test('between synchronisations nothing travels, with a meeting ahead or without', () => {
  fc.assert(
    fc.property(anyCase, fc.boolean(), (of, meets) => {
      const meeting = meets ? { synchronizes: false, outerTensors: of.outerTensors } : undefined;
      const programs = compile(of, meeting);
      for (const { collectives } of checkPrograms(programs)) assert.deepEqual(collectives, []);
      for (const { optimizerBytes } of programs) {
        assert.equal(optimizerBytes, 100 + (meets ? of.outerTensors * of.slice * 4 : 0));
      }
    }),
  );
});

test('a synchronisation sends what an all-reduce would, and a few numbers', () => {
  fc.assert(
    fc.property(anyCase, (of) => {
      const { ranks, slice, outerTensors } = of;
      for (const { collectives } of checkPrograms(compile(of, { synchronizes: true, outerTensors }))) {
        const sent = collectives.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
        assert.equal(Math.round(sent), 2 * 4 * slice * (ranks - 1) + 8 * (ranks - 1) * (ranks + 4));
      }
    }),
  );
});

const MEETING = { synchronizes: true, outerTensors: 2 };

function without(isLeftOut: (instruction: Instruction) => boolean): readonly Program[] {
  return compile({ ranks: 2, micros: 1, slice: 3, outerTensors: 2 }, MEETING).map((program) => ({
    ...program,
    instructions: program.instructions.filter((instruction) => !isLeftOut(instruction)),
  }));
}

function refuses(programs: readonly Program[], reason: RegExp): void {
  assert.throws(
    () => checkPrograms(programs),
    (error) =>
      error instanceof TrainyardError && error.code === 'PROGRAM_INVALID' && reason.test(error.message),
  );
}

test('the checker refuses a synchronisation that lacks a part', () => {
  const isWaitFor = (op: string) => (each: Instruction) => each.op === 'wait' && each.started.op === op;
  refuses(
    without(({ op }) => op === 'merge'),
    /own slice of the common weights" is not there/,
  );
  refuses(without(isWaitFor('exchange')), /slices of all replicas" is not finished/);
  refuses(without(isWaitFor('publish')), /nothing waits for "publish common"/);
  refuses(
    without((each) => each.op === 'compare' || isWaitFor('compare')(each)),
    /ends without "comparison of replicas"/,
  );
  refuses(
    without(({ op }) => op === 'step'),
    /updated parameters" is not there/,
  );
});

test('the checker refuses ranks of which one would not come', () => {
  const [first, second] = compile({ ranks: 2, micros: 1, slice: 3, outerTensors: 2 }, MEETING);
  const [, apart] = compile(
    { ranks: 2, micros: 1, slice: 3, outerTensors: 2 },
    { ...MEETING, synchronizes: false },
  );
  assert.ok(first && second && apart);
  checkPrograms([first, second]);
  refuses([first, apart], /waits in all-to-all .+ never comes/);
});
