import type { ActiveCompression } from '../comm/config.js';
import type { Instruction } from '../step/instruction.js';
import { ownChunks } from '../step/message-errors.js';
import type { Bucket, Pass, Program } from '../step/program.js';
import { rangeElements } from '../step/sharding.js';
import { assignBuckets } from './buckets.js';

export interface ExchangeMomentumOptions {
  /** Decay of the first moment (β₁), unless a schedule moves it. */
  readonly decay: number;
  /** Elements of one message (DeepSpeed: reduce_bucket_size). */
  readonly bucketElements: number;
  /** The fewest, but for the last (communication.merge_below_ms); left out: any. */
  readonly leastElements?: number;
  /** Whether every rank has the whole momentum, or only its slices as yet. */
  readonly isWhole: boolean;
}

const ONE_BIT: ActiveCompression = { type: 'one-bit' };
const MOMENTUM_BYTES = 4;

/**
 * The memory of 1-bit Adam (arXiv 2102.02888), through warm-up and after: where the training state is divided the rest of
 * the momentum, which every rank needs to add its own gradients to; and the errors of messages.
 */
export function reserveMomentum(options: ExchangeMomentumOptions): Pass {
  return (program) => {
    const { rank, groups, trainableElements, sharding } = program;
    const ranks = groups.data.length;
    if (ranks === 1) return program;
    const others = sharding === undefined ? 0 : trainableElements - trainableElements / ranks;
    const server = ownChunks({ rank, groups, buckets: momentumBuckets(program, options) });
    return {
      ...program,
      optimizerBytes: program.optimizerBytes + others * MOMENTUM_BYTES,
      errorFeedback: { of: 'momentum', worker: trainableElements, server },
    };
  };
}

/**
 * The second half of 1-bit Adam: gradients are not summed. Once the norm is agreed on, every rank makes its share of the
 * momentum from its own gradients, and the ranks sum one bit of each element, with error feedback on both sides. What
 * is divided over the ranks (ZeRO 1) is the second moment and the update.
 *
 * One rank makes the momentum and sends nothing.
 */
export function exchangeMomentum(options: ExchangeMomentumOptions): Pass {
  return (program) => {
    const accumulate = { op: 'accumulate', decay: options.decay } as const;
    if (program.groups.data.length === 1) {
      return { ...before('step', [accumulate], program), exchanges: 'momentum' };
    }
    const buckets = momentumBuckets(program, options);
    const reduces = buckets.map(
      (_, bucket): Instruction<'reduce'> => ({ op: 'reduce', bucket, of: 'momentum', compression: ONE_BIT }),
    );
    const agree = { op: 'agree', gradients: 'own' } as const;
    const agreeing: Program = {
      ...program,
      instructions: program.instructions.filter(
        (each) => each.op !== 'agree' && !(each.op === 'wait' && each.started.op === 'agree'),
      ),
    };
    const exchanging = before(
      'step',
      [...(options.isWhole ? [] : gathers(program)), accumulate, ...reduces, ...reduces.map(waitFor)],
      before('clip', [agree, waitFor(agree)], agreeing),
    );
    const shards = program.sharding === undefined ? [`data parallel ${program.groups.data.length}`] : [];
    return {
      ...exchanging,
      exchanges: 'momentum',
      buckets,
      features: [...program.features, ...shards, 'momentum in one-bit'],
    };
  };
}

/** In the order of the gradients' buckets; no tally travels with them. */
function momentumBuckets(
  { blocks, trainableElements }: Program,
  { bucketElements, leastElements }: ExchangeMomentumOptions,
): readonly Bucket[] {
  return assignBuckets(blocks, trainableElements, bucketElements, leastElements).map((bucket) => ({
    ...bucket,
    carriesTally: false,
  }));
}

function gathers({ sharding }: Program): readonly Instruction[] {
  if (sharding === undefined) return [];
  const blocks = [...sharding.ranges.keys()].filter((block) => rangeElements(sharding, block) > 0);
  return blocks.flatMap((block) => {
    const gather = { op: 'gather', block, of: 'momentum' } as const;
    return [gather, waitFor(gather)];
  });
}

function waitFor(started: Instruction<'reduce' | 'gather' | 'agree'>): Instruction {
  return { op: 'wait', started };
}

function before(op: Instruction['op'], added: readonly Instruction[], program: Program): Program {
  return {
    ...program,
    instructions: program.instructions.flatMap((instruction) =>
      instruction.op === op ? [...added, instruction] : [instruction],
    ),
  };
}
