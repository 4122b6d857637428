import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { planFlatLayout } from '../nn/flat-layout.js';
import { checkPrograms } from '../step/checker.js';
import { emptyProgram, laidOut } from '../step/empty-program.js';
import { instructionText } from '../step/instruction-text.js';
import { schedule } from '../step/passes/schedule.js';
import type { Program } from '../step/program.js';
import { gatherParameters } from './gather-parameters.js';
import { limitInFlight } from './limit-in-flight.js';
import { reduceGradients } from './reduce-gradients.js';
import { scatterGradients } from './scatter-gradients.js';
import { shardState } from './shard-state.js';

interface Setting {
  readonly sizes: readonly number[];
  readonly stage: 0 | 1 | 2;
  readonly microBatches: number;
  readonly bucketElements: number;
}

/** A program before its reductions are limited. */
function unlimited({ sizes, stage, microBatches, bucketElements }: Setting): Program {
  const initializer = { kind: 'constant', value: 0 } as const;
  const blocks = sizes.map((size, index) => ({
    name: `b${index}`,
    parameters: [{ name: 'weight', shape: [size], initializer }],
  }));
  const layout = planFlatLayout(blocks, undefined, 2);
  const base: Program = emptyProgram({
    worldSize: 2,
    goal: 'gradients',
    microBatches,
    ...laidOut(blocks, layout),
  });
  const reducing =
    stage === 0
      ? [reduceGradients({ bucketElements, overlap: true })]
      : [shardState({ stage, ranges: layout.ranges, bucketElements, sameOrder: false }), scatterGradients];
  return [schedule({}), ...reducing].reduce((program, pass) => pass(program), base);
}

const gathered = gatherParameters({
  overlap: true,
  persistenceThreshold: 0,
  prefetchElements: 0,
  mostPersistentElements: 0,
  mostReuseDistance: 0,
  mostLiveElements: 1,
});

/** Starts and waits of reductions, in few words. */
function lines(program: Program): readonly string[] {
  return program.instructions
    .map((instruction) => instructionText(instruction).replace(/bucket\.|part\.| start| micro 0/g, ''))
    .filter((text) => /reduce|scatter|release/.test(text));
}

const FIVE: Setting = { sizes: [64, 64, 64, 64], stage: 0, microBatches: 1, bucketElements: 64 };

test('where one more starts than may be on their way, the oldest is waited for first', () => {
  assert.deepEqual(lines(limitInFlight(2)(unlimited(FIVE))), [
    'reduce 0',
    'reduce 1',
    'wait reduce 0',
    'reduce 2',
    'wait reduce 1',
    'reduce 3',
    'wait reduce 2',
    'wait reduce 3',
  ]);
});

test('a limit of none waits for each at once, and its gradients are released then', () => {
  const program = limitInFlight(0)(unlimited({ ...FIVE, stage: 2, sizes: [64, 3000], bucketElements: 1 }));
  assert.deepEqual(lines(program), [
    'scatter 1',
    'wait scatter 1',
    'scatter 2',
    'wait scatter 2',
    'release block.1 gradients',
    'scatter 0',
    'wait scatter 0',
    'release block.0 gradients',
  ]);
});

test('never are more on their way, nothing else moves, and the program still runs', () => {
  const settings = fc.record({
    sizes: fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 5 }),
    stage: fc.constantFrom(0 as const, 1 as const, 2 as const),
    microBatches: fc.integer({ min: 1, max: 3 }),
    bucketElements: fc.integer({ min: 1, max: 4000 }),
    most: fc.nat(4),
  });
  fc.assert(
    fc.property(settings, ({ most, ...setting }) => {
      const before = unlimited(setting);
      const after = limitInFlight(most)(before);
      let inFlight = 0;
      for (const { op } of after.instructions.filter(
        (each) => each.op !== 'wait' || ['reduce', 'scatter'].includes(each.started.op),
      )) {
        if (op === 'reduce' || op === 'scatter') inFlight += 1;
        if (op === 'wait') inFlight -= 1;
        assert.ok(inFlight <= Math.max(1, most));
      }
      const rest = ({ instructions }: Program) =>
        instructions.filter(({ op }) => op !== 'wait' && op !== 'release');
      assert.deepEqual(rest(after), rest(before));
      assert.deepEqual([...lines(after)].sort(), [...lines(before)].sort());
      checkPrograms([0, 1].map((rank) => gathered({ ...after, rank })));
    }),
    { numRuns: 300 },
  );
});
