import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../src/base/errors.js';
import { checkProgress } from '../src/step/checker/progress.js';
import { checkPrograms } from '../src/step/checker.js';
import type { Instruction } from '../src/step/instruction.js';
import { instructionText } from '../src/step/instruction-text.js';
import type { Program } from '../src/step/program.js';
import { pipelinePrograms } from './pipeline/programs.js';

/** A pipeline in which every kind of message goes both ways. */
const SMALL = pipelinePrograms({
  schedule: 'interleaved',
  stages: 3,
  chunks: 2,
  microBatches: 4,
  block: { outputBytes: 8 },
});

function edited(rank: number, edit: (list: Instruction[]) => void): readonly Program[] {
  return SMALL.map((program) => {
    if (program.rank !== rank) return program;
    const instructions = [...program.instructions];
    edit(instructions);
    return { ...program, instructions };
  });
}

function refused(programs: readonly Program[], ...parts: readonly RegExp[]): void {
  assert.throws(
    () => checkPrograms(programs),
    (error) => {
      assert.ok(error instanceof TrainyardError && error.code === 'PROGRAM_INVALID', String(error));
      for (const part of parts) assert.match(error.message, part);
      return true;
    },
  );
}

/** The place of an instruction by its text. */
function find(list: readonly Instruction[], text: string): number {
  const index = list.findIndex((instruction) => instructionText(instruction) === text);
  assert.notEqual(index, -1, text);
  return index;
}

test('refuses what is sent and never received, and the other way round', () => {
  const last = SMALL.length - 1;
  const receive = 'receive block.1 output micro 3 start from rank 1';
  const lost = edited(last, (list) => {
    const index = find(list, receive);
    list.splice(index, 1);
  });
  refused(lost, /nothing started "receive block\.1 output micro 3"/, /rank 2/);
  const silent = edited(1, (list) => {
    for (const text of ['send block.1 output micro 3 start to rank 2', 'wait send block.1 output micro 3']) {
      list.splice(find(list, text), 1);
    }
  });
  refused(
    silent,
    /8 bytes \(rank 2, instruction \d+: receive block\.1 output micro 3[^)]*\) meets 8 bytes \(rank 1/,
  );
});

test('refuses messages in another order, of another length and to another rank', () => {
  const swapped = edited(0, (list) => {
    const [first, second] = [0, 1].map((micro) =>
      find(list, `send block.0 output micro ${micro} start to rank 1`),
    );
    assert.ok(first !== undefined && second !== undefined);
    list.splice(second, 0, ...list.splice(first, 1));
  });
  refused(swapped, /rank 1, instruction \d+: receive block\.0 output micro 0/);
  const longer = SMALL.map((program) =>
    program.rank === 0
      ? {
          ...program,
          blocks: program.blocks.map((block, index) => (index === 0 ? { ...block, outputBytes: 9 } : block)),
        }
      : program,
  );
  refused(longer, /receive block\.0 output micro 0[\s\S]*9 bytes \(rank 0/);
  const astray = edited(0, (list) => {
    const index = find(list, 'send block.0 output micro 0 start to rank 1');
    list[index] = { op: 'send', memory: 'output', block: 0, micro: 0, peer: 7 };
  });
  refused(astray, /rank 7 is no other stage of this pipeline/, /rank 0, instruction \d+: send block\.0/);
});

test('refuses ranks that would wait for each other for ever, and names both', () => {
  // Rank 0 keeps back what rank 1 needs until rank 1 has sent what can only come after it.
  const two = pipelinePrograms({ schedule: '1f1b', stages: 2, chunks: 1, microBatches: 1 }).map((program) => {
    if (program.rank !== 0) return program;
    const list = [...program.instructions];
    const [sent] = list.splice(find(list, 'send block.0 output micro 0 start to rank 1'), 1);
    const wait = find(list, 'wait receive block.0 gradient micro 0');
    assert.ok(sent);
    list.splice(wait + 1, 0, sent);
    return { ...program, instructions: list };
  });
  refused(
    two,
    /it waits for rank 1, which is at instruction \d+ \(wait receive block\.0 output micro 0\), and so for rank 0: they would wait for ever/,
    /rank 0, instruction \d+: wait receive block\.0 gradient micro 0/,
  );
});

test('refuses a collective that a message holds up', () => {
  const agree = { op: 'agree', over: 'pipeline' } as const;
  const [first, second] = pipelinePrograms({ schedule: 'gpipe', stages: 2, chunks: 1, microBatches: 1 });
  assert.ok(first && second);
  // Stage 1 sends its gradient only after both have agreed, and stage 0 agrees only when it has it.
  const others = second.instructions.filter(
    (instruction) =>
      instruction.op !== 'agree' && !(instruction.op === 'wait' && instruction.started.op === 'agree'),
  );
  const instructions = others.flatMap((instruction): readonly Instruction[] =>
    instruction.op === 'clip' ? [] : [instruction],
  );
  const position = instructions.findIndex(({ op }) => op === 'send');
  const early = [
    ...instructions.slice(0, position),
    agree,
    { op: 'wait', started: agree } as const,
    ...instructions.slice(position),
  ];
  assert.throws(
    () => checkProgress([first, { ...second, instructions: early }]),
    /at instruction \d+ \(wait agree tally\.pipeline\)/,
  );
});

test('any message or wait that is left out is refused', () => {
  const places = SMALL.flatMap(({ rank, instructions }) =>
    instructions.flatMap(({ op }, position) =>
      op === 'send' || op === 'receive' || op === 'wait' ? [{ rank, position }] : [],
    ),
  );
  for (const { rank, position } of places) {
    refused(edited(rank, (list) => list.splice(position, 1)));
  }
});

test('refuses chunks that are no runs, blocks of other stages and a rank that is not its stage', () => {
  const [first] = pipelinePrograms({
    schedule: '1f1b',
    stages: 2,
    chunks: 1,
    microBatches: 1,
    blocksPerChunk: 2,
  });
  assert.ok(first?.pipeline);
  refused([{ ...first, pipeline: { ...first.pipeline, chunks: [[1, 0]] } }], /no runs of blocks/);
  refused(
    [{ ...first, pipeline: { ...first.pipeline, chunks: [[0]] } }],
    /block\.1 is on another stage than 0/,
  );
  refused([{ ...first, pipeline: { ...first.pipeline, stage: 1 } }], /rank 0 is not stage 1 among 2 ranks/);
});
