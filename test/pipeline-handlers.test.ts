import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Work } from '../src/comm/work.js';
import { planFlatLayout } from '../src/nn/flat-layout.js';
import { FlatParameters } from '../src/nn/flat-parameters.js';
import { agreeOverStages } from '../src/pipeline/agree-over-stages.js';
import type { ScheduleName } from '../src/pipeline/schedule.js';
import { scheduleStages } from '../src/pipeline/schedule-stages.js';
import { recomputeBlocks } from '../src/recompute/recompute-blocks.js';
import { checkPrograms } from '../src/step/checker.js';
import { emptyProgram, laidOut } from '../src/step/empty-program.js';
import { executeProgram } from '../src/step/executor.js';
import { type StageLinks, type StepMetrics, StepState } from '../src/step/handlers/step-state.js';
import { createHandlers } from '../src/step/handlers.js';
import type { Instruction } from '../src/step/instruction.js';
import type { Program } from '../src/step/program.js';
import { noGrad } from '../src/tensor/autograd.js';
import { tensor } from '../src/tensor/create.js';
import { empty } from '../src/tensor/generated/functions.js';
import { keep, liveTensors, scope, type Tensor } from '../src/tensor/tensor.js';
import { BLOCKS, batchOf, FEATURES, MICRO_BATCHES, POSITIONS } from './pipeline/tiny-model.js';

// The stages of a pipeline, taken in turns by one process, train what one stage alone trains.

interface Layout {
  readonly schedule: ScheduleName;
  /** Blocks of every chunk, from stage to stage. */
  readonly runs: readonly (readonly number[])[];
  readonly stages: number;
  readonly isFrozen?: (name: string) => boolean;
  readonly recomputed?: ReadonlySet<number>;
}

function programOf(
  { schedule, runs, stages, recomputed = new Set(), isFrozen }: Layout,
  stage: number,
): Program {
  const chunks = runs.filter((_, run) => run % stages === stage);
  const layout = layoutOf(chunks.flat(), isFrozen);
  const passes = [scheduleStages({ schedule }), recomputeBlocks(recomputed), agreeOverStages];
  return passes.reduce<Program>(
    (program, pass) => pass(program),
    emptyProgram({
      rank: stage,
      worldSize: stages,
      goal: 'gradients',
      microBatches: MICRO_BATCHES,
      ...laidOut(BLOCKS, layout),
      groups: { data: [stage], pipeline: Array.from({ length: stages }, (_, rank) => rank) },
      pipeline: { stage, stages, chunks },
    }),
  );
}

function layoutOf(own: readonly number[], isFrozen: Layout['isFrozen']) {
  const declared = BLOCKS.map((block, index) => (own.includes(index) ? block : { ...block, parameters: [] }));
  return planFlatLayout(declared, isFrozen);
}

/** Values that depend on names alone. */
function makeParameters(layout: ReturnType<typeof layoutOf>): FlatParameters {
  const parameters = new FlatParameters(layout, { dtype: 'float32', device: 'cpu', gradients: true });
  scope(() => {
    for (const { name, value } of parameters.parameters) {
      const seed = [...name].reduce((sum, letter) => sum + (letter.codePointAt(0) ?? 0), 0);
      const values = Array.from({ length: value.elements }, (_, index) => Math.sin(seed + index));
      noGrad(() => value.copy_(tensor(values, value.shape)));
    }
  });
  return parameters;
}

/** What the stages have sent each other and not taken yet, and what they have told all. */
class Exchange {
  readonly sent = new Map<string, Tensor[]>();
  readonly told: Tensor[] = [];
  readonly started = new Set<string>();

  links(stage: number, stages: number): StageLinks {
    const queueOf = (from: number, to: number): Tensor[] => {
      const queue = this.sent.get(`${from} ${to}`) ?? [];
      this.sent.set(`${from} ${to}`, queue);
      return queue;
    };
    const finished: Work = { wait: () => undefined };
    return {
      group: {
        send: (sent, peer) => {
          queueOf(stage, peer).push(keep(sent.clone()));
          return finished;
        },
        receive: (target, peer) => ({
          wait: () => {
            const arrived = queueOf(peer, stage).shift();
            assert.ok(arrived);
            assert.deepEqual([arrived.shape, arrived.dtype], [target.shape, target.dtype]);
            noGrad(() => target.copy_(arrived));
            arrived.dispose();
          },
        }),
        allGather: (output, input) => {
          this.told[stage] = keep(input.clone());
          return {
            wait: () => {
              assert.equal(this.told.length, stages);
              for (const [index, each] of this.told.entries()) {
                output.narrow(0, index * each.elements, each.elements).copy_(each);
              }
            },
          };
        },
      },
      emptyOutput: () => ({
        hidden: empty([POSITIONS, FEATURES], { dtype: 'float32' }),
        indices: empty([POSITIONS], { dtype: 'int64' }),
        shortcut: empty([POSITIONS, FEATURES], { dtype: 'float32' }),
      }),
    };
  }

  /** Whether an instruction of a stage can run without waiting for another one. */
  isReady(instruction: Instruction, stages: number): boolean {
    if (instruction.op !== 'wait') return true;
    const { started } = instruction;
    if (started.op === 'agree') return this.told.filter((each) => each !== undefined).length === stages;
    return (
      started.op !== 'receive' || this.started.has(`${started.memory} ${started.block} ${started.micro}`)
    );
  }

  dispose(): void {
    for (const each of this.told) each.dispose();
    assert.deepEqual([...this.sent.values()].flat(), []);
  }
}

interface Outcome {
  readonly metrics: StepMetrics;
  /** By parameter. */
  readonly gradients: ReadonlyMap<string, readonly number[]>;
}

function train(layout: Layout): Outcome {
  const { stages } = layout;
  const programs = Array.from({ length: stages }, (_, stage) => programOf(layout, stage));
  checkPrograms(programs);
  const exchange = new Exchange();
  const ranks = programs.map((program, stage) => {
    const parameters = makeParameters(layoutOf(program.pipeline?.chunks.flat() ?? [], layout.isFrozen));
    const inputs = { nextBatch: batchOf, lossScale: 1 / 8, training: true };
    const links = exchange.links(stage, stages);
    const resources = { blocks: BLOCKS, parameters, stages: links };
    const state = new StepState(resources, inputs);
    return { program, parameters, state, handlers: createHandlers(program, state), position: 0 };
  });
  const before = liveTensors();
  for (let moved = true; moved; ) {
    moved = false;
    for (const rank of ranks) {
      for (;;) {
        const instruction = rank.program.instructions[rank.position];
        if (instruction === undefined || !exchange.isReady(instruction, stages)) break;
        const one = { ...rank.program, instructions: [instruction] };
        executeProgram(one, rank.handlers, { step: 0, runScoped: scope });
        if (instruction.op === 'send') {
          exchange.started.add(`${instruction.memory} ${instruction.block} ${instruction.micro}`);
        }
        rank.position += 1;
        moved = true;
      }
    }
  }
  assert.equal(liveTensors(), before + exchange.told.length, 'a step ends as it began');
  const all = ranks.map(({ state, position, program }) => {
    assert.equal(position, program.instructions.length);
    assert.ok(state.metrics);
    return state.metrics;
  });
  for (const metrics of all) assert.deepEqual(metrics, all[0], 'all stages know the same');
  const gradients = ranks.flatMap(({ parameters }) =>
    parameters.parameters.map(({ name, gradient }) => [name, gradient?.toArray() ?? []] as const),
  );
  for (const { parameters, state } of ranks) {
    state.dispose();
    parameters.dispose();
  }
  exchange.dispose();
  const [metrics] = all;
  assert.ok(metrics);
  return { metrics, gradients: new Map(gradients) };
}

const ALONE = { schedule: 'gpipe', stages: 1, runs: [[0, 1, 2, 3, 4, 5]] } as const;

const LAYOUTS: readonly Layout[] = [
  {
    schedule: 'gpipe',
    stages: 2,
    runs: [
      [0, 1, 2],
      [3, 4, 5],
    ],
  },
  {
    schedule: '1f1b',
    stages: 3,
    runs: [
      [0, 1],
      [2, 3],
      [4, 5],
    ],
  },
  {
    schedule: '1f1b',
    stages: 3,
    runs: [
      [0, 1],
      [2, 3],
      [4, 5],
    ],
    recomputed: new Set([0, 2, 3, 4]),
  },
  { schedule: 'interleaved', stages: 2, runs: [[0], [1, 2], [3], [4, 5]] },
  { schedule: 'interleaved', stages: 3, runs: [[0], [1], [2], [3], [4], [5]] },
  {
    schedule: 'zero-bubble',
    stages: 3,
    runs: [
      [0, 1],
      [2, 3],
      [4, 5],
    ],
  },
];

function compare(outcome: Outcome, expected: Outcome, name: string): void {
  const close = (actual: number, wanted: number) =>
    assert.ok(
      Math.abs(actual - wanted) <= 1e-6 * Math.max(1, Math.abs(wanted)),
      `${name}: ${actual} ≠ ${wanted}`,
    );
  close(outcome.metrics.loss, expected.metrics.loss);
  close(outcome.metrics.gradientNorm, expected.metrics.gradientNorm);
  assert.equal(outcome.metrics.tokens, expected.metrics.tokens);
  assert.deepEqual([...outcome.gradients.keys()].sort(), [...expected.gradients.keys()].sort());
  for (const [parameter, gradient] of expected.gradients) {
    for (const [index, value] of gradient.entries()) {
      close(outcome.gradients.get(parameter)?.[index] ?? Number.NaN, value);
    }
  }
}

test('stages compute what one process computes, and leave no tensor behind', () => {
  const expected = train(ALONE);
  assert.ok(expected.metrics.gradientNorm > 0 && expected.metrics.tokens === 12);
  for (const layout of LAYOUTS) {
    const before = liveTensors();
    const outcome = train(layout);
    const name = `${layout.schedule} on ${layout.stages}`;
    assert.equal(liveTensors(), before, name);
    compare(outcome, expected, name);
  }
});

test('a stage with nothing to train takes the gradients that it is sent, and needs none', () => {
  const isFrozen = (name: string) => /embedding|first/.test(name);
  const expected = train({ ...ALONE, isFrozen });
  for (const layout of LAYOUTS) compare(train({ ...layout, isFrozen }), expected, layout.schedule);
});
