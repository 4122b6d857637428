import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { bubbleFraction } from '../src/step/bubble.js';
import { checkPrograms } from '../src/step/checker.js';
import type { Instruction } from '../src/step/instruction.js';
import { schedule } from '../src/step/passes/schedule.js';
import { printProgram, printReport } from '../src/step/print.js';
import type { Program } from '../src/step/program.js';
import { simulate } from '../src/step/simulator.js';
import { chromeTrace } from '../src/step/timeline.js';
import { allCases, MOST, SCHEDULES } from './pipeline/cases.js';
import { costsOf, faultsOf, mostKept, simulatedCase } from './pipeline/faults.js';
import { emptyStage, type PipelineCase, pipelinePrograms } from './pipeline/programs.js';

test('schedules pass their check, keep and stand still as their formulas say', () => {
  // `node dist/test/pipeline-proofs.js` proves all.
  fc.assert(
    fc.property(fc.constantFrom(...allCases()), (pipeline) => assert.deepEqual(faultsOf(pipeline), [])),
    {
      numRuns: 25,
      examples: SCHEDULES.map((name): [PipelineCase] => [
        { ...MOST, schedule: name, chunks: name === 'interleaved' ? 4 : 1 },
      ]),
    },
  );
});

test('one stage has the plain schedule', () => {
  for (const name of SCHEDULES) {
    const pipeline: PipelineCase = {
      schedule: name,
      stages: 1,
      chunks: 1,
      microBatches: 3,
      blocksPerChunk: 4,
    };
    const [program] = pipelinePrograms(pipeline);
    const plain = schedule({})(emptyStage(pipeline, 0));
    assert.deepEqual(program, plain);
  }
});

test('layers are spread over ranks with one micro-batch, of which a stage keeps one', () => {
  const pipeline: PipelineCase = {
    schedule: '1f1b',
    stages: 4,
    chunks: 1,
    microBatches: 1,
    blocksPerChunk: 2,
  };
  const reports = checkPrograms(pipelinePrograms(pipeline));
  assert.deepEqual(
    reports.map(({ peak }) => peak.ledger.activations),
    [2, 2, 2, 2],
  );
  const { stepMs } = simulatedCase(pipeline, { forward: 1, input: 1, weights: 1 });
  assert.equal(stepMs, 8 * 3);
});

test('what is received and sent is in the ledger, one message ahead and one behind', () => {
  const pipeline: PipelineCase = { schedule: '1f1b', stages: 4, chunks: 1, microBatches: 8 };
  const block = { activationBytes: 1010, outputBytes: 10 };
  const peaks = checkPrograms(pipelinePrograms({ ...pipeline, block })).map(
    ({ peak }) => peak.ledger.activations,
  );
  const inputs = [0, 1, 1, 1];
  assert.deepEqual(
    peaks.map((bytes) => Math.floor(bytes / 1000)),
    peaks.map((_, stage) => mostKept(pipeline, stage)),
  );
  for (const [stage, bytes] of peaks.entries()) {
    const kept = mostKept(pipeline, stage) * (1010 + 10 * (inputs[stage] ?? 0));
    // Beside them: an input that arrives, a gradient that arrived, one that is made and one that leaves.
    assert.ok(bytes >= kept && bytes <= kept + 4 * 10, `stage ${stage}: ${bytes} beside ${kept}`);
  }
});

test('zero-bubble stands still for (p − 1) (F + B − W)', () => {
  for (const times of [
    { forward: 1, input: 1, weights: 1 },
    { forward: 4, input: 5, weights: 3 },
  ]) {
    for (const stages of [2, 4, 8]) {
      const pipeline: PipelineCase = { schedule: 'zero-bubble', stages, chunks: 1, microBatches: 2 * stages };
      const { forward, input, weights } = times;
      const work = 2 * stages * (forward + input + weights);
      const { stepMs } = simulatedCase(pipeline, times);
      assert.equal(stepMs, work + (stages - 1) * (forward + input - weights));
    }
  }
});

test('messages travel under other turns', () => {
  const pipeline: PipelineCase = { schedule: 'gpipe', stages: 4, chunks: 1, microBatches: 16 };
  const times = { forward: 4, input: 4, weights: 4 };
  const costs = { ...costsOf(times), send: () => 1 };
  const programs = pipelinePrograms(pipeline);
  const { stepMs } = simulate(programs, costs);
  // The way through the stages and back: each of its borders once.
  assert.equal(stepMs - simulate(programs, costsOf(times)).stepMs, 2 * 3);
  // Where every message is started only when it is wanted, each takes its time.
  assert.equal(simulate(programs.map(withLateReceipts), costs).stepMs - stepMs, 2 * 15);
});

test('messages on one link go one after the other', () => {
  const programs = pipelinePrograms({ schedule: 'gpipe', stages: 2, chunks: 1, microBatches: 4 });
  const costs = { ...costsOf({ forward: 1, input: 1, weights: 1 }), send: () => 10 };
  // The last output is there at 1 + 4 · 10; from 42 + 2 on four gradients go back, and the last is used for 2 ms.
  assert.equal(simulate(programs, costs).stepMs, 44 + 4 * 10 + 2);
  assert.equal(simulate(programs.map(withEarlyReceipts), costs).stepMs, 44 + 4 * 10 + 2);
});

/** The same with all batches and all receives of outputs at its beginning. */
function withEarlyReceipts(program: Program): Program {
  const isEarly = (instruction: Instruction): boolean =>
    instruction.op === 'load' || (instruction.op === 'receive' && instruction.memory === 'output');
  const [early, late] = [
    program.instructions.filter(isEarly),
    program.instructions.filter((each) => !isEarly(each)),
  ];
  const [loads, receives] = [
    early.filter(({ op }) => op === 'load'),
    early.filter(({ op }) => op !== 'load'),
  ];
  return { ...program, instructions: [...loads, ...receives, ...late] };
}

/** The same with each receive right before its wait. */
function withLateReceipts(program: Program): Program {
  const instructions = program.instructions.flatMap((instruction): readonly Instruction[] => {
    if (instruction.op === 'receive') return [];
    const isReceipt = instruction.op === 'wait' && instruction.started.op === 'receive';
    return isReceipt ? [instruction.started, instruction] : [instruction];
  });
  return { ...program, instructions };
}

test('programs of stages print and draw what they hand to each other', () => {
  const pipeline: PipelineCase = { schedule: 'zero-bubble', stages: 2, chunks: 1, microBatches: 2 };
  const programs = pipelinePrograms({ ...pipeline, block: { activationBytes: 5000, outputBytes: 4096 } });
  const reports = checkPrograms(programs);
  const [, last] = programs;
  const report = reports[1];
  assert.ok(last && report);
  assert.equal(
    printProgram(last),
    [
      'rank 1 of 2 · 2 micro-batches · pipeline stage 1 of 2 (zero-bubble)',
      'clear     gradients',
      'load      micro 0',
      'receive   block.0 output micro 0          start from rank 0  (4,096 bytes)',
      'wait      receive block.0 output micro 0',
      'forward   block.1                         micro 0',
      'load      micro 1',
      'receive   block.0 output micro 1          start from rank 0  (4,096 bytes)',
      'backward  block.1                         micro 0 (input)',
      'send      block.0 gradient micro 0        start to rank 0    (4,096 bytes)',
      'wait      receive block.0 output micro 1',
      'forward   block.1                         micro 1',
      'backward  block.1                         micro 1 (input)',
      'wait      send block.0 gradient micro 0',
      'send      block.0 gradient micro 1        start to rank 0    (4,096 bytes)',
      'backward  block.1                         micro 0 (weights)',
      'backward  block.1                         micro 1 (weights)',
      'wait      send block.0 gradient micro 1',
      'agree     tally.pipeline                  start              (all-gather, 8 elements)',
      'wait      agree tally.pipeline',
      'clip      none',
      'step',
      '',
    ].join('\n'),
  );
  assert.match(printReport(last, report), /^sends +gradient to rank 0 +8,192 +bytes in 2 messages$/m);
  const { slices } = simulate(programs, { ...costsOf({ forward: 2, input: 2, weights: 2 }), send: () => 1 });
  const sends = slices.filter(({ name }) => name === 'send block.0 output micro 0');
  const receives = slices.filter(({ name }) => name === 'receive block.0 output micro 0');
  assert.deepEqual(
    [...sends, ...receives].map(({ rank, stream, startMs, endMs }) => [rank, stream, startMs, endMs]),
    [
      [0, 'communication', 2, 3],
      [1, 'communication', 2, 3],
    ],
  );
  assert.match(
    JSON.stringify(chromeTrace(slices)),
    /"send block.0 output micro 0","cat":"communication","pid":0/,
  );
  // 12 ms of work on each rank, from 0 to 16.
  assert.ok(Math.abs(bubbleFraction(slices) - 1 / 3) < 1e-9);
});
