import type { Instruction } from '../instruction.js';
import type { Program } from '../program.js';
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
  if (program.groups.data.length > 1) checkBuckets(program);
}

function indices(instruction: Instruction, program: Program): readonly (readonly [string, number, number])[] {
  const target = instruction.op === 'wait' ? instruction.started : instruction;
  return [
    ...('block' in target ? [['block', target.block, program.blocks.length] as const] : []),
    ...('micro' in target ? [['micro-batch', target.micro, program.microBatches] as const] : []),
    ...('bucket' in target ? [['bucket', target.bucket, program.buckets.length] as const] : []),
  ];
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
