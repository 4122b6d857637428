import type { Instruction } from '../instruction.js';
import type { Pass } from '../program.js';

/** What the base schedule may vary in. */
export interface ScheduleOptions {
  /** Largest global gradient norm (DeepSpeed: gradient_clipping); absent: gradients stay as they are. */
  readonly maximumNorm?: number;
}

/**
 * The base schedule of one process: every micro-batch forward through all blocks and backward again, their
 * gradients adding up, then one update. Only one micro-batch has activations at a time.
 */
export function schedule(options: ScheduleOptions): Pass {
  return (program) => {
    const micros = range(program.microBatches);
    const blocks = range(program.blocks.length);
    const instructions: Instruction[] = [{ op: 'clear' }];
    for (const micro of micros) {
      instructions.push({ op: 'load', micro });
      for (const block of blocks) instructions.push({ op: 'forward', block, micro });
      for (const block of [...blocks].reverse()) instructions.push({ op: 'backward', block, micro });
    }
    instructions.push({ op: 'clip', ...options });
    if (program.goal === 'update') instructions.push({ op: 'step' });
    const feature = `${micros.length} micro-batch${micros.length === 1 ? '' : 'es'}`;
    return { ...program, features: [...program.features, feature], instructions };
  };
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index);
}
