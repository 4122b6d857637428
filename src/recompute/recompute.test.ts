import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { followValues } from '../step/checker/data-flow.js';
import { checkPrograms } from '../step/checker.js';
import { emptyProgram } from '../step/empty-program.js';
import { instructionText } from '../step/instruction-text.js';
import { schedule } from '../step/passes/schedule.js';
import type { Program, ProgramBlock } from '../step/program.js';
import { cheapestCover } from './cheapest-cover.js';
import { chooseBlocks } from './choose-blocks.js';
import { offloadKeptInputs } from './offload-kept-inputs.js';
import { recomputeBlocks } from './recompute-blocks.js';
import { selectBlocks } from './select-blocks.js';

function program(blocks: readonly ProgramBlock[], microBatches = 1): Program {
  return schedule({})(
    emptyProgram({
      microBatches,
      blocks,
      batchBytes: 8,
      hostIsApart: true,
    }),
  );
}

function block(index: number, kept: number, output: number, workspace = [0, 0, 0]): ProgramBlock {
  const [forward = 0, drop = 0, backward = 0] = workspace;
  return {
    name: `layer.${index}`,
    parameters: [],
    activationBytes: kept + output,
    outputBytes: output,
    workspace: { forward, drop, backward },
  };
}

const LAYERS = [0, 1, 2, 3, 4].map((index) => block(index, index === 0 ? 0 : 100, 10));

/** Random blocks with random workspaces, a time each, a number of micro-batches, and where inputs are kept. */
const models = fc.record({
  blocks: fc
    .array(
      fc.record({
        kept: fc.integer({ min: 0, max: 60 }),
        output: fc.integer({ min: 1, max: 20 }),
        workspace: fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 3, maxLength: 3 }),
        time: fc.integer({ min: 1, max: 50 }),
      }),
      { minLength: 1, maxLength: 6 },
    )
    .map((list) =>
      list.map((each, index) => ({ ...each, block: block(index, each.kept, each.output, each.workspace) })),
    ),
  microBatches: fc.integer({ min: 1, max: 2 }),
  keptInputs: fc.constantFrom<KeptInputs>('device', 'host'),
  share: fc.double({ min: 0, max: 1, noNaN: true }),
});

type KeptInputs = 'device' | 'host';

function compilerOf(base: Program, keptInputs: KeptInputs = 'device') {
  return (blocks: ReadonlySet<number>): Program => {
    const compiled = recomputeBlocks(blocks)(base);
    return keptInputs === 'host' ? offloadKeptInputs(compiled) : compiled;
  };
}

function subsetsOf(count: number): readonly ReadonlySet<number>[] {
  return Array.from(
    { length: 2 ** count },
    (_, bits) =>
      new Set(Array.from({ length: count }, (__, index) => index).filter((index) => (bits >> index) & 1)),
  );
}

test('a recomputed block drops its forward and runs it again right before its backward', () => {
  const text = recomputeBlocks(new Set([1]))(program(LAYERS.slice(0, 3))).instructions.map(instructionText);
  assert.deepEqual(text, [
    'clear gradients',
    'load micro 0',
    'forward block.0 micro 0',
    'forward block.1 micro 0 (drop)',
    'forward block.2 micro 0',
    'backward block.2 micro 0',
    'recompute block.1 micro 0',
    'backward block.1 micro 0',
    'backward block.0 micro 0',
    'clip none',
    'step',
  ]);
});

test('always leaves out what saves nothing: a block that keeps only its output, and the one at the turn', () => {
  const base = program(LAYERS);
  const chosen = chooseBlocks({ policy: 'always' }, { compile: compilerOf(base) });
  assert.deepEqual([...chosen], [1, 2, 3]);
  const bytes = (blocks: ReadonlySet<number>) => followValues(compilerOf(base)(blocks)).bytes;
  assert.equal(bytes(new Set()) - bytes(chosen), 300);
});

test('a selection is every k-th block, counted from one, and whatever a pattern matches', () => {
  assert.deepEqual([...selectBlocks({ every: 2 }, LAYERS)], [1, 3]);
  assert.deepEqual([...selectBlocks({ blocks: ['layer.4', 'layer.1'] }, LAYERS)], [4, 1]);
  assert.deepEqual([...selectBlocks({ blocks: ['l*.*'] }, LAYERS)].length, 5);
  assert.throws(
    () => selectBlocks({ blocks: ['layer_1'] }, LAYERS),
    (error) =>
      error instanceof TrainyardError && error.code === 'CONFIG_INVALID' && /layer\.1/.test(error.message),
  );
  assert.throws(() => selectBlocks({ blocks: ['layerx1'] }, LAYERS), 'a dot is a dot');
});

test('a selection of which nothing would come is refused', () => {
  const compile = compilerOf(program(LAYERS));
  for (const selection of [{ every: 100 }, { blocks: ['layer.0'] }, { blocks: ['layer.4'] }]) {
    assert.throws(
      () => chooseBlocks({ policy: 'selected', ...selection }, { compile }),
      (error) => error instanceof TrainyardError && error.code === 'CONFIG_CONFLICT',
    );
  }
});

test('on demand drops the block whose backward is farthest away, and no more than the limit needs', () => {
  const compile = compilerOf(program(LAYERS));
  const peak = followValues(compile(new Set())).bytes;
  const chosen = (limit_bytes: number) => [
    ...chooseBlocks({ policy: 'on-demand', limit_bytes }, { compile }),
  ];
  assert.deepEqual(chosen(peak), []);
  assert.deepEqual(chosen(peak - 1), [1]);
  assert.deepEqual(chosen(peak - 100), [1]);
  assert.deepEqual(chosen(peak - 101), [1, 2]);
  assert.deepEqual(chosen(1), [1, 2, 3], 'what cannot be reached is not looked for for ever');
});

test('on demand keeps to a limit that any choice can keep to', () => {
  fc.assert(
    fc.property(models, ({ blocks, microBatches, keptInputs, share }) => {
      const compile = compilerOf(
        program(
          blocks.map((each) => each.block),
          microBatches,
        ),
        keptInputs,
      );
      const most = followValues(compile(new Set())).bytes;
      const least = followValues(compile(chooseBlocks({ policy: 'always' }, { compile }))).bytes;
      if (least > most) return;
      const limit_bytes = Math.ceil(least + share * (most - least));
      const chosen = compile(chooseBlocks({ policy: 'on-demand', limit_bytes }, { compile }));
      checkPrograms([chosen]);
      assert.ok(followValues(chosen).bytes <= Math.max(limit_bytes, least));
    }),
    { numRuns: 300 },
  );
});

test('a budget is kept at the least cost that any choice of blocks has', () => {
  fc.assert(
    fc.property(models, ({ blocks, microBatches, keptInputs, share }) => {
      const compile = compilerOf(
        program(
          blocks.map((each) => each.block),
          microBatches,
        ),
        keptInputs,
      );
      const forwardTimes = blocks.map(({ time }) => time);
      const useful = chooseBlocks({ policy: 'always' }, { compile });
      const heights = subsetsOf(blocks.length)
        .filter((set) => [...set].every((index) => useful.has(index)))
        .map((set) => ({ bytes: followValues(compile(set)).bytes, cost: costOf(set, forwardTimes) }));
      const least = Math.min(...heights.map(({ bytes }) => bytes));
      const most = followValues(compile(new Set())).bytes;
      const budget_bytes = Math.ceil(least + share * (most - least));

      const chosen = chooseBlocks({ policy: 'budget', budget_bytes }, { compile, forwardTimes });
      checkPrograms([compile(chosen)], { budgetBytes: budget_bytes });
      const cheapest = Math.min(
        ...heights.filter(({ bytes }) => bytes <= budget_bytes).map(({ cost }) => cost),
      );
      assert.equal(costOf(chosen, forwardTimes), cheapest);
    }),
    { numRuns: 500 },
  );
});

test('the cheapest cover is what trying every choice finds', () => {
  const questions = fc.integer({ min: 1, max: 4 }).chain((rows) =>
    fc.record({
      items: fc.array(
        fc.record({
          cost: fc.integer({ min: 0, max: 20 }),
          relief: fc.array(fc.integer({ min: -5, max: 20 }), { minLength: rows, maxLength: rows }),
        }),
        { maxLength: 8 },
      ),
      demands: fc.array(fc.integer({ min: -10, max: 60 }), { minLength: rows, maxLength: rows }),
    }),
  );
  fc.assert(
    fc.property(questions, ({ items, demands }) => {
      const costs = items.map(({ cost }) => cost);
      const covers = (set: Iterable<number>) =>
        demands.every(
          (demand, row) =>
            [...set].reduce((left, item) => left - (items[item]?.relief[row] ?? 0), demand) <= 0,
        );
      const found = cheapestCover(items, demands);
      const possible = subsetsOf(items.length).filter(covers);
      if (found === undefined) {
        assert.equal(possible.length, 0);
        return;
      }
      assert.ok(covers(found));
      assert.equal(costOf(found, costs), Math.min(...possible.map((set) => costOf(set, costs))));
    }),
    { numRuns: 1000 },
  );
});

test('a budget over many layers alike is found at once', () => {
  const layers = Array.from({ length: 120 }, (_, index) => block(index, 100, 10, [7, 5, 40]));
  const compile = compilerOf(program(layers));
  const most = followValues(compile(new Set())).bytes;
  const chosen = chooseBlocks({ policy: 'budget', budget_bytes: most - 6000 }, { compile });
  assert.equal(chosen.size, 60);
});

function costOf(set: Iterable<number>, costs: readonly number[]): number {
  return [...set].reduce((sum, index) => sum + (costs[index] ?? 0), 0);
}
