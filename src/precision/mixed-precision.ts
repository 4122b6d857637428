import type { Instruction } from '../step/instruction.js';
import type { MixedPrecision, Pass, Program } from '../step/program.js';
import { blocksUsedBy, isTrained } from '../step/sharding.js';
import type { Precision } from './config.js';

/**
 * Blocks compute in 16 bits on copies of fp32 weights (DeepSpeed: bf16, fp16; arXiv 1710.03740). Where weights are
 * divided, gathering makes the copies; where they are whole, each block's copy is made before its first use in the
 * step, so that no copy crosses the border of a step.
 */
export function mixedPrecision(precision: Precision): Pass {
  return (program) => {
    if (precision.dtype === 'float32') return program;
    const mixed: MixedPrecision = { dtype: precision.dtype, bytesPerElement: 2 };
    const divided = program.sharding !== undefined;
    return {
      ...program,
      precision: mixed,
      features: [...program.features, featureOf(precision)],
      instructions: divided ? program.instructions : withCasts(program),
    };
  };
}

function withCasts(program: Program): readonly Instruction[] {
  const made = new Set<number>();
  return program.instructions.flatMap((instruction): readonly Instruction[] => {
    if (instruction.op !== 'forward') return [instruction];
    const needed = blocksUsedBy(instruction.block, program).filter(
      (block) => !made.has(block) && isTrained(block, program),
    );
    for (const block of needed) made.add(block);
    return [...needed.map((block) => ({ op: 'cast', block }) as const), instruction];
  });
}

function featureOf(precision: Exclude<Precision, { dtype: 'float32' }>): string {
  if (precision.dtype === 'bfloat16') return 'bf16';
  const { scaling } = precision;
  return scaling.kind === 'static' ? `fp16, loss scale ${scaling.scale}` : 'fp16, dynamic loss scale';
}
