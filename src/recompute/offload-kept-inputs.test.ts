import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { followValues } from '../step/checker/data-flow.js';
import { checkPrograms } from '../step/checker.js';
import { emptyProgram } from '../step/empty-program.js';
import type { Instruction } from '../step/instruction.js';
import { instructionText } from '../step/instruction-text.js';
import { schedule } from '../step/passes/schedule.js';
import type { Program } from '../step/program.js';
import { offloadKeptInputs } from './offload-kept-inputs.js';
import { recomputeBlocks } from './recompute-blocks.js';

interface Sizes {
  readonly kept: number;
  readonly output: number;
}

/** Blocks of these sizes, some of them recomputed, on a device with a memory of its own. */
function program(
  blocks: readonly Sizes[],
  recomputed: readonly number[],
  { microBatches = 1, hostIsApart = true } = {},
): Program {
  const base = schedule({})(
    emptyProgram({
      microBatches,
      blocks: blocks.map(({ kept, output }, index) => ({
        name: `layer.${index}`,
        parameters: [],
        activationBytes: kept + output,
        outputBytes: output,
      })),
      batchBytes: 8,
      hostIsApart,
    }),
  );
  return recomputeBlocks(new Set(recomputed))(base);
}

const LAYERS = Array.from({ length: 6 }, (): Sizes => ({ kept: 100, output: 10 }));

const questions = fc.record({
  blocks: fc.array(
    fc.record({ kept: fc.integer({ min: 0, max: 60 }), output: fc.integer({ min: 1, max: 20 }) }),
    {
      minLength: 1,
      maxLength: 9,
    },
  ),
  recomputed: fc.array(fc.nat(8), { maxLength: 9 }),
  microBatches: fc.integer({ min: 1, max: 3 }),
});

const isCopy = ({ op }: Instruction): boolean => op === 'evict' || op === 'fetch';
const isAboutCopies = (instruction: Instruction): boolean =>
  isCopy(instruction) || (instruction.op === 'wait' && isCopy(instruction.started));

test('kept inputs leave under the next forward and come back under the recomputation before theirs', () => {
  const moved = offloadKeptInputs(program(LAYERS, [1, 2, 3, 4]));
  assert.deepEqual(moved.instructions.map(instructionText), [
    'clear gradients',
    'load micro 0',
    'forward block.0 micro 0',
    'forward block.1 micro 0 (drop)',
    'evict block.0 output micro 0 start',
    'forward block.2 micro 0 (drop)',
    'evict block.1 output micro 0 start',
    'wait evict block.0 output micro 0',
    'forward block.3 micro 0 (drop)',
    'evict block.2 output micro 0 start',
    'wait evict block.1 output micro 0',
    'forward block.4 micro 0 (drop)',
    'wait evict block.2 output micro 0',
    'forward block.5 micro 0',
    'backward block.5 micro 0',
    'fetch block.2 output micro 0 start',
    'recompute block.4 micro 0',
    'backward block.4 micro 0',
    'wait fetch block.2 output micro 0',
    'fetch block.1 output micro 0 start',
    'recompute block.3 micro 0',
    'backward block.3 micro 0',
    'wait fetch block.1 output micro 0',
    'fetch block.0 output micro 0 start',
    'recompute block.2 micro 0',
    'backward block.2 micro 0',
    'wait fetch block.0 output micro 0',
    'recompute block.1 micro 0',
    'backward block.1 micro 0',
    'backward block.0 micro 0',
    'clip none',
    'step',
  ]);
  assert.deepEqual(moved.features, ['1 micro-batch', 'recompute 4 of 6 blocks', '3 kept inputs on the host']);
});

test('blocks that keep their graphs are turns like others, and their own inputs stay', () => {
  const moved = offloadKeptInputs(program(LAYERS, [2]));
  assert.deepEqual(moved.instructions.map(instructionText).slice(3, 16), [
    'forward block.1 micro 0',
    'forward block.2 micro 0 (drop)',
    'evict block.1 output micro 0 start',
    'forward block.3 micro 0',
    'wait evict block.1 output micro 0',
    'forward block.4 micro 0',
    'forward block.5 micro 0',
    'backward block.5 micro 0',
    'backward block.4 micro 0',
    'fetch block.1 output micro 0 start',
    'backward block.3 micro 0',
    'wait fetch block.1 output micro 0',
    'recompute block.2 micro 0',
  ]);
});

test('a program in which nothing is away for long enough stays as it is', () => {
  for (const unmoved of [program(LAYERS, []), program(LAYERS, [0, 4, 5]), program(LAYERS.slice(3), [1])]) {
    assert.equal(offloadKeptInputs(unmoved), unmoved);
  }
});

test('what lies on the host is off the device, and on a line of its own', () => {
  const blocks = Array.from({ length: 20 }, (): Sizes => ({ kept: 100, output: 10 }));
  const recomputed = blocks.map((_, index) => index).slice(1, -1);
  const [before, after] = [followValues(program(blocks, recomputed)), peakOf(true)];
  function peakOf(hostIsApart: boolean) {
    return followValues(offloadKeptInputs(program(blocks, recomputed, { hostIsApart })));
  }
  // The inputs of 18 blocks are kept, of which one is needed at once; at the peak another is coming back.
  assert.equal(before.ledger.host, 0);
  assert.equal(after.ledger.host, 17 * 10);
  assert.equal(before.bytes - after.bytes, 16 * 10);
  const { host, ...onDevice } = after.ledger;
  assert.equal(
    Object.values(onDevice).reduce((sum, bytes) => sum + bytes, 0),
    after.bytes,
  );
  // Where host and device are one memory nothing is saved, the line is a part of the sum, and what is being copied
  // is there twice.
  const same = peakOf(false);
  assert.equal(same.bytes - before.bytes, 10);
  assert.equal(
    Object.values(same.ledger).reduce((sum, bytes) => sum + bytes, 0),
    same.bytes,
  );
});

test('whatever is recomputed: the program is sound, each input goes and comes back once, memory never rises', () => {
  let moves = 0;
  fc.assert(
    fc.property(questions, ({ blocks, recomputed, microBatches }) => {
      const chosen = recomputed.filter((block) => block < blocks.length);
      const before = program(blocks, chosen, { microBatches });
      const after = offloadKeptInputs(before);
      checkPrograms([after]);
      assert.deepEqual(
        after.instructions.filter((instruction) => !isAboutCopies(instruction)),
        before.instructions,
      );
      moves += demandRoundTrips(after);
      const heights = heightsOf(after);
      for (const [index, bytes] of heightsOf(before).entries()) assert.ok((heights[index] ?? 0) <= bytes);
      assert.ok(followValues(after).bytes <= followValues(before).bytes);
    }),
    { numRuns: 500 },
  );
  assert.ok(moves > 500, `${moves} moves`);
});

test('a program that needs what is on the host, or brings it back twice, is refused', () => {
  const { instructions, ...rest } = offloadKeptInputs(program(LAYERS, [1, 2, 3, 4]));
  const without = (...texts: readonly string[]): Program => ({
    ...rest,
    instructions: instructions.filter((instruction) => !texts.includes(instructionText(instruction))),
  });
  const fetch = 'fetch block.1 output micro 0';
  assert.throws(
    () => checkPrograms([without(`${fetch} start`, `wait ${fetch}`)]),
    /"output of block\.1 micro 0" is not there[\s\S]*recompute block\.2 micro 0/,
  );
  assert.throws(
    () => checkPrograms([without(`wait ${fetch}`)]),
    /"output of block\.1 micro 0" is not finished[\s\S]*recompute block\.2 micro 0/,
  );
  const evict = 'evict block.1 output micro 0';
  assert.throws(
    () => checkPrograms([without(`wait ${evict}`)]),
    /"output of block\.1 micro 0 on the host" is not finished[\s\S]*fetch block\.1/,
  );
  const twice = instructions.flatMap((instruction) =>
    instructionText(instruction) === `wait ${fetch}`
      ? [instruction, { op: 'fetch', memory: 'output', block: 1, micro: 0 } as const]
      : [instruction],
  );
  assert.throws(
    () => checkPrograms([{ ...rest, instructions: twice }]),
    /"output of block\.1 micro 0 on the host" is not there/,
  );
});

/** Live bytes on the device at each instruction but those about copies. */
function heightsOf(measured: Program): readonly number[] {
  const heights: number[] = [];
  followValues(measured, (position, bytes) => {
    const instruction = measured.instructions[position];
    if (instruction !== undefined && !isAboutCopies(instruction)) heights.push(bytes);
  });
  return heights;
}

/** Everything evicted is away for a turn and fetched once, right for the recomputation that needs it. Returns how many. */
function demandRoundTrips({ instructions }: Program): number {
  const texts = instructions.map(instructionText);
  const isTurn = ({ op }: Instruction): boolean =>
    op === 'forward' || op === 'recompute' || op === 'backward';
  const evicted = instructions.flatMap((instruction) => (instruction.op === 'evict' ? [instruction] : []));
  for (const { block, micro } of evicted) {
    const name = `block.${block} output micro ${micro}`;
    const trip = [
      `forward block.${block + 1} micro ${micro} (drop)`,
      `evict ${name} start`,
      `wait evict ${name}`,
      `fetch ${name} start`,
      `wait fetch ${name}`,
      `recompute block.${block + 1} micro ${micro}`,
    ];
    const places = trip.map((text) => texts.indexOf(text));
    assert.ok(!places.includes(-1), trip.join());
    assert.deepEqual(
      places,
      [...places].sort((left, right) => left - right),
    );
    for (const text of trip) assert.equal(texts.filter((each) => each === text).length, 1);
    const [, start = 0, gone = 0, back = 0, there = 0] = places;
    for (const [from, to] of [
      [start, gone],
      [gone, back],
      [back, there],
    ] as const) {
      assert.ok(instructions.slice(from, to).some(isTurn), 'something is computed meanwhile');
    }
  }
  return evicted.length;
}
