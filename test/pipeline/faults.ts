import { bubbleFraction } from '../../src/step/bubble.js';
import { checkPrograms } from '../../src/step/checker.js';
import type { Instruction } from '../../src/step/instruction.js';
import type { CostModel, Simulation } from '../../src/step/simulator/simulation.js';
import { simulate } from '../../src/step/simulator.js';
import { type PipelineCase, pipelinePrograms } from './programs.js';

/** Milliseconds of a block's forward and of the halves of its backward; messages take no time. */
export interface BlockTimes {
  readonly forward: number;
  readonly input: number;
  readonly weights: number;
}

export function simulatedCase(pipeline: PipelineCase, times: BlockTimes): Simulation {
  return simulate(pipelinePrograms(pipeline), costsOf(times));
}

export function costsOf({ forward, input, weights }: BlockTimes): CostModel {
  const compute = (instruction: Instruction): number => {
    if (instruction.op === 'forward') return forward;
    if (instruction.op !== 'backward') return 0;
    const halves = { input, weights, both: input + weights };
    return halves[instruction.half ?? 'both'];
  };
  return { compute, communicate: () => 0, send: () => 0, copy: () => 0 };
}

/**
 * What is wrong with a schedule on one pipeline: it does not pass the check, keeps more or less than it should, or stands
 * still for longer.
 */
export function faultsOf(pipeline: PipelineCase): readonly string[] {
  const name = JSON.stringify(pipeline);
  try {
    return [...keptFaults(pipeline), ...bubbleFaults(pipeline)].map((fault) => `${name}: ${fault}`);
  } catch (error) {
    return [`${name}: ${String(error)}`];
  }
}

function keptFaults(pipeline: PipelineCase): readonly string[] {
  return checkPrograms(pipelinePrograms(pipeline)).flatMap(({ peak }, stage) => {
    const kept = peak.ledger.activations;
    const expected = mostKept(pipeline, stage);
    const isRight = isExact(pipeline) ? kept === expected : kept <= expected;
    return isRight ? [] : [`stage ${stage} keeps ${kept} of its chunks, not ${expected}`];
  });
}

/** How many chunks with a micro-batch a stage keeps at most. */
export function mostKept({ schedule, stages, chunks, microBatches }: PipelineCase, stage: number): number {
  // One process takes one micro-batch after the other, all of its chunks.
  if (stages === 1) return chunks;
  switch (schedule) {
    case 'gpipe':
      return microBatches;
    case '1f1b':
      return Math.min(microBatches, stages - stage);
    case 'interleaved':
      return chunks === 1
        ? Math.min(microBatches, stages - stage)
        : Math.min(microBatches * chunks, 2 * (stages - 1 - stage) + (chunks - 1) * stages + 1);
    case 'zero-bubble':
      return Math.min(microBatches, stages);
    default:
      return schedule satisfies never;
  }
}

function bubbleFaults(pipeline: PipelineCase): readonly string[] {
  const { schedule, stages, chunks, microBatches } = pipeline;
  const bubble = bubbleFraction(simulatedCase(pipeline, { forward: 1, input: 1, weights: 1 }).slices);
  if (schedule === 'zero-bubble') {
    const plain = simulatedCase({ ...pipeline, schedule: '1f1b' }, { forward: 1, input: 1, weights: 1 });
    const without = bubbleFraction(plain.slices);
    const isShorter = stages === 1 || microBatches === 1 ? bubble <= without : bubble < without;
    return isShorter ? [] : [`a bubble of ${bubble}, with whole backwards ${without}`];
  }
  const expected = (stages - 1) / (microBatches * chunks);
  const isRight = isExact(pipeline)
    ? Math.abs(bubble - expected) < 1e-9
    : bubble <= (stages - 1) / microBatches + 1e-9;
  return isRight ? [] : [`a bubble of ${bubble}, not ${expected}`];
}

/** Interleaving has its formulas where the stages divide the micro-batches. */
function isExact({ schedule, stages, chunks, microBatches }: PipelineCase): boolean {
  return schedule !== 'interleaved' || chunks === 1 || microBatches % stages === 0;
}
