import type { Instruction } from '../instruction.js';
import type { PipelineStage, Program, Sharding } from '../program.js';
import { contributorsTo } from '../sharding.js';
import { isOfStage } from '../stage-blocks.js';
import { refusal } from './refusal.js';

/**
 * Checks what holds apart from the order of instructions: every index points into its table, and where
 * gradients have to be summed over ranks the buckets cover the gradient buffer exactly once.
 */
export function checkStructure(program: Program): void {
  for (const [position, instruction] of program.instructions.entries()) {
    for (const [name, index, length] of indices(instruction, program)) {
      if (!Number.isInteger(index) || index < 0 || index >= length) {
        throw refusal(program, position, `there is no ${name} ${index} among ${length}`);
      }
    }
  }
  if (program.pipeline !== undefined) checkStage(program, program.pipeline);
  if (program.sharding !== undefined) checkParts(program, program.sharding);
  const isInBuckets = program.sharding === undefined || program.exchanges === 'momentum';
  if (isInBuckets && program.groups.data.length > 1) checkBuckets(program);
}

function indices(instruction: Instruction, program: Program): readonly (readonly [string, number, number])[] {
  const target = instruction.op === 'wait' ? instruction.started : instruction;
  return [
    ...('block' in target ? [['block', target.block, program.blocks.length] as const] : []),
    ...('micro' in target && target.micro !== undefined
      ? [['micro-batch', target.micro, program.microBatches] as const]
      : []),
    ...('part' in target ? [['part', target.part, program.sharding?.parts.length ?? 0] as const] : []),
    ...('bucket' in target ? [['bucket', target.bucket, program.buckets.length] as const] : []),
  ];
}

/** Chunks ascend through the model without overlap, and nothing is computed that is another stage's. */
function checkStage(program: Program, { stage, stages, chunks }: PipelineStage): void {
  const blocks = chunks.flat();
  const isRun = chunks.every((chunk) =>
    chunk.every((block, index) => index === 0 || block === (chunk[index - 1] ?? 0) + 1),
  );
  const ascends = blocks.every((block, index) => index === 0 || block > (blocks[index - 1] ?? 0));
  const exists = blocks.every((block) => program.blocks[block] !== undefined);
  if (!isRun || !ascends || !exists || chunks.some(({ length }) => length === 0)) {
    throw refusal(program, undefined, `the chunks of stage ${stage} are no runs of blocks in their order`);
  }
  const ranks = program.groups.pipeline ?? [program.rank];
  if (ranks.length !== stages || ranks[stage] !== program.rank) {
    throw refusal(
      program,
      undefined,
      `rank ${program.rank} is not stage ${stage} among ${ranks.length} ranks`,
    );
  }
  for (const [position, instruction] of program.instructions.entries()) {
    const { op } = instruction;
    if (op === 'forward' || op === 'recompute' || op === 'backward') {
      if (!isOfStage(instruction.block, program)) {
        throw refusal(program, position, `block.${instruction.block} is on another stage than ${stage}`);
      }
    }
    if (
      (op === 'send' || op === 'receive') &&
      (instruction.peer === program.rank || !ranks.includes(instruction.peer))
    ) {
      throw refusal(program, position, `rank ${instruction.peer} is no other stage of this pipeline`);
    }
  }
}

/** Every element of every slice is in one part, and parts wait for all blocks that add to them. */
function checkParts(program: Program, sharding: Sharding): void {
  const ranks = program.groups.data.length;
  let end = 0;
  for (const [block, range] of sharding.ranges.entries()) {
    const slice = (range.end - range.start) / ranks;
    if (range.start !== end || !Number.isInteger(slice)) {
      throw refusal(program, undefined, `block.${block} cannot be cut into ${ranks} equal slices`);
    }
    end = range.end;
    let covered = 0;
    for (const part of sharding.parts.filter((each) => each.block === block)) {
      if (part.start !== covered || part.end <= part.start) {
        throw refusal(
          program,
          undefined,
          `element ${covered} of the slices of block.${block} is not in one part`,
        );
      }
      covered = part.end;
      const missing = contributorsTo(block, program).find((other) => !part.blocks.includes(other));
      if (missing !== undefined) {
        throw refusal(program, undefined, `a part of block.${block} would not wait for block.${missing}`);
      }
    }
    if (covered !== slice) {
      throw refusal(program, undefined, `the parts of block.${block} cover ${covered} of ${slice} elements`);
    }
  }
  if (end !== program.trainableElements) {
    throw refusal(program, undefined, `the slices end at element ${end} of ${program.trainableElements}`);
  }
}

function checkBuckets(program: Program): void {
  const ascending = [...program.buckets].sort((a, b) => a.start - b.start);
  let covered = 0;
  for (const bucket of ascending) {
    if (bucket.start !== covered) {
      const fault = bucket.start > covered ? 'are in no bucket' : 'are in two buckets';
      const range = [bucket.start, covered].sort((a, b) => a - b).join(' to ');
      throw refusal(program, undefined, `gradient elements ${range} ${fault}`);
    }
    covered = bucket.end;
    const missing = [...contributors(program, bucket.start, bucket.end)].find(
      (block) => !bucket.blocks.includes(block),
    );
    if (missing !== undefined) {
      const range = `${bucket.start} to ${bucket.end}`;
      throw refusal(
        program,
        undefined,
        `the bucket of elements ${range} would not wait for block.${missing}`,
      );
    }
  }
  if (covered !== program.trainableElements) {
    throw refusal(
      program,
      undefined,
      `the buckets end at element ${covered} of ${program.trainableElements}`,
    );
  }
  if (program.exchanges === 'momentum') return;
  const tallies = program.buckets.filter((bucket) => bucket.carriesTally);
  if (tallies.length !== 1 || tallies[0]?.end !== program.trainableElements) {
    throw refusal(program, undefined, 'the tally must travel once, with the bucket that ends the buffer');
  }
}

/** Blocks with a trainable parameter that touches the range [start, end). */
function contributors(program: Program, start: number, end: number): ReadonlySet<number> {
  const blocks = [...program.blocks.entries()].filter(([, { parameters }]) =>
    parameters.some(
      ({ trainable, offset, elements }) => trainable && offset < end && offset + elements > start,
    ),
  );
  return new Set(blocks.map(([index]) => index));
}
