import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { compileProgram, type ProgramInputs } from '../src/engine/compile-program.js';
import { planFlatLayout } from '../src/nn/flat-layout.js';
import type { ScheduleName } from '../src/pipeline/schedule.js';
import type { Precision } from '../src/precision/config.js';
import { checkPrograms, type ProgramReport } from '../src/step/checker.js';
import { effectsOf } from '../src/step/effects.js';
import type { Program } from '../src/step/program.js';

/** Everything else that shapes a program, on top of a pipeline. */
const worlds = fc
  .record({
    schedule: fc.constantFrom<ScheduleName>('gpipe', '1f1b', 'interleaved', 'zero-bubble'),
    stages: fc.integer({ min: 2, max: 4 }),
    ranks: fc.integer({ min: 1, max: 3 }),
    chunks: fc.integer({ min: 1, max: 3 }),
    blocksPerChunk: fc.integer({ min: 1, max: 2 }),
    microBatches: fc.integer({ min: 1, max: 6 }),
    frozenBlocks: fc.array(fc.nat(4), { maxLength: 2 }),
    tied: fc.boolean(),
    bucketElements: fc.integer({ min: 1, max: 150 }),
    overlap: fc.boolean(),
    recomputed: fc.array(fc.nat(7), { maxLength: 5 }),
    keptInputs: fc.constantFrom('device' as const, 'host' as const),
    stage: fc.constantFrom(0 as const, 1 as const, 2 as const, 3 as const),
    sameOrder: fc.boolean(),
    persistenceThreshold: fc.nat(30),
    prefetchElements: fc.nat(100),
    mostPersistentElements: fc.nat(100),
    mostReuseDistance: fc.nat(150),
    mostLiveElements: fc.nat(200),
    goal: fc.constantFrom<Program['goal']>('update', 'gradients'),
    compression: fc.constantFrom(undefined, { type: 'fp16-dynamic' } as const, { type: 'one-bit' } as const),
    precision: fc.constantFrom<Precision>(
      { dtype: 'float32' },
      { dtype: 'bfloat16', checksOverflow: true },
      { dtype: 'float16', scaling: { kind: 'static', scale: 8 } },
    ),
  })
  .map((random) => {
    const { schedule, stages, ranks, blocksPerChunk, stage, compression } = random;
    const chunks = schedule === 'interleaved' ? random.chunks : 1;
    const count = stages * chunks * blocksPerChunk;
    const initializer = { kind: 'constant', value: 0 } as const;
    const blocks = Array.from({ length: count }, (_, index) => ({
      name: `block${index}`,
      parameters: [
        { name: 'weight', shape: [11 + index], initializer },
        // Two blocks of one chunk can share memory, as those of one process can.
        ...(random.tied && index % blocksPerChunk === 1
          ? [{ name: 'tied', shape: [10 + index], initializer, tiedTo: `block${index - 1}.weight` }]
          : []),
      ],
    }));
    const frozen = new Set(random.frozenBlocks.map((index) => `block${index + 1}.weight`));
    const programOf = (rank: number): Program => {
      const place = Math.floor(rank / ranks);
      const own = Array.from({ length: chunks }, (_, chunk) =>
        Array.from(
          { length: blocksPerChunk },
          (__, index) => (chunk * stages + place) * blocksPerChunk + index,
        ),
      );
      const isOwn = new Set(own.flat());
      const ownBlocks = blocks.map((each, index) => (isOwn.has(index) ? each : { ...each, parameters: [] }));
      const layout = planFlatLayout(ownBlocks, (name) => frozen.has(name), ranks);
      const inputs: ProgramInputs = {
        rank,
        mesh: { pipeline: stages, data: ranks, tensor: 1 },
        goal: random.goal,
        microBatches: random.microBatches,
        blocks: blocks.map(({ name }, index) => ({ name, activationBytes: 100 + index, outputBytes: 10 })),
        layout,
        pipeline: { schedule, place: { stage: place, stages, chunks: own }, tied: [] },
        bytesPerElement: 4,
        batchBytes: 16,
        optimizerBytes: layout.trainableElements * 8,
        schedule: { maximumNorm: 1 },
        recomputed: new Set(random.recomputed.filter((block) => block < count)),
        keptInputs: random.keptInputs,
        gradients: {
          bucketElements: random.bucketElements,
          overlap: random.overlap,
          ordered: random.sameOrder,
        },
        ...(stage !== 0 && { zero: { ...random, stage } }),
        ...(compression !== undefined && { compression: { compression, sequenceLength: 8 } }),
        precision: random.precision,
      };
      return compileProgram(inputs);
    };
    return Array.from({ length: stages * ranks }, (_, rank) => programOf(rank));
  })
  // A stage without anything to train has no buckets for its tally.
  .filter((programs) => programs.every(({ trainableElements }) => trainableElements > 0));

test('every schedule goes with every ZeRO stage, recomputation, offload, compression and precision', () => {
  fc.assert(
    fc.property(worlds, (programs) => {
      const reports = checkPrograms(programs);
      for (const [index, program] of programs.entries()) {
        checkTraffic(program, reports[index]);
        checkGathers(program);
      }
    }),
    { numRuns: 100 },
  );
});

/** Once per step and rank: each gradient is summed, whatever the number of micro-batches; outputs cross each border. */
function checkTraffic(program: Program, report: ProgramReport | undefined): void {
  const { pipeline, groups, trainableElements, microBatches } = program;
  assert.ok(pipeline && report);
  const reductions = program.instructions.filter(({ op }) => op === 'reduce' || op === 'scatter');
  const summed = reductions.reduce(
    (sum, instruction) => sum + (effectsOf(instruction, program).collective?.elements ?? 0),
    0,
  );
  const tally = program.sharding === undefined ? 3 : 0;
  assert.equal(summed, groups.data.length === 1 ? 0 : trainableElements + tally);
  const { stage, stages, chunks } = pipeline;
  const borders = { output: stage === stages - 1 ? 1 : 0, gradient: stage === 0 ? 1 : 0 };
  for (const memory of ['output', 'gradient'] as const) {
    const sent: ProgramReport['messages'] = report.messages.filter((message) => message.memory === memory);
    const count = sent.reduce((sum, message) => sum + message.count, 0);
    assert.equal(count, (chunks.length - borders[memory]) * microBatches);
  }
}

/** Parameters are made whole for what computes with them: products for weights that were put off do not. */
function checkGathers({ instructions }: Program): void {
  for (const [index, instruction] of instructions.entries()) {
    if (instruction.op !== 'backward' || instruction.half !== 'weights') continue;
    const next = instructions[index + 1];
    assert.ok(next?.op !== 'release' || next.memory !== 'parameters');
  }
}
