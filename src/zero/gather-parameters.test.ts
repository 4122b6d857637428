import assert from 'node:assert/strict';
import { test } from 'node:test';
import { planFlatLayout } from '../nn/flat-layout.js';
import { checkPrograms } from '../step/checker.js';
import { emptyProgram, laidOut } from '../step/empty-program.js';
import { instructionText } from '../step/instruction-text.js';
import { schedule } from '../step/passes/schedule.js';
import type { Program } from '../step/program.js';
import { type GatherParametersOptions, gatherParameters } from './gather-parameters.js';
import { scatterGradients } from './scatter-gradients.js';
import { shardState } from './shard-state.js';

const initializer = { kind: 'constant', value: 0 } as const;
const SIZES = [64, 32, 32, 16];

function compile(
  stage: 1 | 2 | 3,
  options: Partial<GatherParametersOptions> = {},
  microBatches = 1,
): Program {
  const blocks = SIZES.map((size, index) => ({
    name: `b${index}`,
    parameters: [{ name: 'weight', shape: [size], initializer }],
  }));
  const layout = planFlatLayout(blocks, undefined, 2);
  const base: Program = emptyProgram({
    worldSize: 2,
    microBatches,
    ...laidOut(blocks, layout),
    optimizerBytes: 8 * layout.trainableElements,
  });
  const gathering = {
    overlap: true,
    persistenceThreshold: 0,
    mostPersistentElements: 1000,
    mostReuseDistance: 0,
    prefetchElements: 1000,
    mostLiveElements: 1000,
    ...options,
  };
  const passes = [
    schedule({}),
    shardState({ stage, ranges: layout.ranges, bucketElements: 1000, sameOrder: false }),
    scatterGradients,
    gatherParameters(gathering),
  ];
  return passes.reduce((program, pass) => pass(program), base);
}

/** The instructions about parameters, and forwards and backwards, in few words. */
function lines(program: Program): readonly string[] {
  checkPrograms([program]);
  return program.instructions
    .filter(
      (instruction) =>
        ['forward', 'backward', 'gather'].includes(instruction.op) ||
        (instruction.op === 'release' && instruction.memory === 'parameters') ||
        (instruction.op === 'wait' && instruction.started.op === 'gather'),
    )
    .map((instruction) => instructionText(instruction).replace(/ micro 0| start| parameters/g, ''));
}

/** Elements that a rank sends, as a multiple of P (N − 1) / N; without what `agree` sends. */
function traffic(program: Program): number {
  const [report] = checkPrograms([program]);
  const agreed = 4 * 8;
  const sent = report?.collectives.reduce((sum, { sentBytes }) => sum + sentBytes, -agreed) ?? 0;
  return sent / (program.trainableElements * program.bytesPerElement * 0.5);
}

test('stages 1 and 2 gather every block once, while forward is at the blocks before', () => {
  for (const stage of [1, 2] as const) {
    assert.deepEqual(lines(compile(stage)).slice(0, 8), [
      'gather block.0',
      'gather block.1',
      'gather block.2',
      'gather block.3',
      'wait gather block.0',
      'forward block.0',
      'wait gather block.1',
      'forward block.1',
    ]);
  }
});

test('stage 3 gathers one block ahead, releases after use, and keeps what is used next', () => {
  const found = lines(compile(3));
  assert.deepEqual(found.slice(0, 9), [
    'gather block.0',
    'wait gather block.0',
    'gather block.1',
    'forward block.0',
    'release block.0',
    'wait gather block.1',
    'gather block.2',
    'forward block.1',
    'release block.1',
  ]);
  const turn = found.indexOf('forward block.3');
  assert.deepEqual(found.slice(turn, turn + 3), ['forward block.3', 'gather block.2', 'backward block.3']);
});

test('the limits on what is fetched ahead and on what is live are kept', () => {
  const nothingAhead = lines(compile(3, { prefetchElements: 0 }));
  for (const limited of [{ prefetchElements: 31 }, { mostLiveElements: 47 }, { overlap: false }]) {
    const found = lines(compile(3, limited));
    const at = found.indexOf('gather block.1');
    assert.equal(found[at + 1], 'wait gather block.1', JSON.stringify(limited));
  }
  assert.equal(nothingAhead[3], 'release block.0');
});

test('a block of small parameters stays whole from its first use to its last', () => {
  const found = lines(compile(3, { persistenceThreshold: 32 }));
  for (const block of [1, 2, 3]) {
    assert.equal(found.filter((line) => line === `gather block.${block}`).length, 1);
  }
  assert.equal(found.filter((line) => line === 'gather block.0').length, 2);
});

/** Most gathered elements at a time. */
function mostGathered(program: Program): number {
  let [live, most] = [0, 0];
  for (const instruction of program.instructions) {
    const sizeOf = (block: number): number => SIZES[block] ?? 0;
    if (instruction.op === 'gather') live += sizeOf(instruction.block);
    if (instruction.op === 'release' && instruction.memory === 'parameters')
      live -= sizeOf(instruction.block);
    most = Math.max(most, live);
  }
  return most;
}

const gathersOf = (program: Program, block: number): number =>
  lines(program).filter((line) => line === `gather block.${block}`).length;

test('persistent blocks together stay inside their limit', () => {
  const program = compile(3, { persistenceThreshold: 32, mostPersistentElements: 50 });
  assert.deepEqual(
    [0, 1, 2, 3].map((block) => gathersOf(program, block)),
    [2, 1, 2, 1],
    'block 1 fits, block 2 no longer does, block 3 still does',
  );
});

test('a block that is used again soon enough stays whole, and saves its second gather', () => {
  // Between the uses of block 2 lie two of block 3; between those of block 1, two more of block 2.
  const distances = [0, 31, 32, 95, 96, 159, 160];
  const counts = distances.map((mostReuseDistance) => {
    const program = compile(3, { mostReuseDistance });
    checkPrograms([program]);
    return [gathersOf(program, 0), gathersOf(program, 1), gathersOf(program, 2)].join('');
  });
  assert.deepEqual(counts, ['222', '222', '221', '221', '211', '211', '111']);
  assert.equal(traffic(compile(3, { mostReuseDistance: 160 })), 2);
});

test('live parameters stay inside their limit, whatever asks for them, down to what one use needs', () => {
  for (const options of [
    { mostReuseDistance: 1000 },
    { persistenceThreshold: 1000 },
    { prefetchElements: 1000 },
  ]) {
    let before = 0;
    for (let limit = 1; limit <= 200; limit += 1) {
      const program = compile(3, { ...options, mostLiveElements: limit }, 2);
      checkPrograms([program]);
      const most = mostGathered(program);
      assert.ok(most <= Math.max(limit, 64), `${most} elements of ${limit}`);
      assert.ok(most >= before);
      before = most;
    }
    assert.ok(before > 64, 'a wide limit is used');
  }
});

test('elements on the wire: 2P at stages 1 and 2, at most 3P at stage 3', () => {
  assert.equal(traffic(compile(1)), 2);
  assert.equal(traffic(compile(2)), 2);
  // The last block need not be gathered a second time.
  assert.equal(traffic(compile(3)), 3 - 16 / 144);
});
