import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { planFlatLayout, TALLY_ELEMENTS } from '../nn/flat-layout.js';
import type { Precision } from '../precision/config.js';
import { checkPrograms } from '../step/checker.js';
import { instructionText } from '../step/instruction-text.js';
import type { Program } from '../step/program.js';
import { compileProgram, type ProgramInputs } from './compile-program.js';
import { intendedMeaning, meaning } from './program-meaning.test.js';

/** Programs of all ranks for random models (ties and frozen parameters included) and random settings. */
const worlds = fc
  .record({
    blocks: fc.array(fc.array(fc.integer({ min: 1, max: 40 }), { maxLength: 3 }), {
      minLength: 1,
      maxLength: 5,
    }),
    tied: fc.boolean(),
    frozenBlocks: fc.array(fc.nat(4), { maxLength: 2 }),
    worldSize: fc.integer({ min: 1, max: 4 }),
    microBatches: fc.integer({ min: 1, max: 4 }),
    bucketElements: fc.integer({ min: 1, max: 150 }),
    overlap: fc.boolean(),
    clipped: fc.boolean(),
    recomputed: fc.array(fc.nat(4), { maxLength: 5 }),
    keptInputs: fc.constantFrom<ProgramInputs['keptInputs']>('device', 'host'),
    stage: fc.constantFrom(0 as const, 1 as const, 2 as const, 3 as const),
    sameOrder: fc.boolean(),
    persistenceThreshold: fc.nat(30),
    prefetchElements: fc.nat(100),
    mostPersistentElements: fc.nat(100),
    mostReuseDistance: fc.nat(150),
    mostLiveElements: fc.nat(200),
    goal: fc.constantFrom<Program['goal']>('update', 'gradients'),
    compression: fc.constantFrom(
      undefined,
      { type: 'bf16' } as const,
      { type: 'fp16-dynamic' } as const,
      { type: 'fp16-static', scale: 2 ** 16 } as const,
      { type: 'one-bit' } as const,
    ),
    precision: fc.constantFrom<Precision>(
      { dtype: 'float32' },
      { dtype: 'bfloat16', checksOverflow: false },
      { dtype: 'float16', scaling: { kind: 'static', scale: 8 } },
    ),
  })
  .map((random) => {
    const initializer = { kind: 'constant', value: 0 } as const;
    const blocks = random.blocks.map((sizes, index) => ({
      name: `block${index}`,
      parameters: [
        ...sizes.map((size, position) => ({ name: `p${position}`, shape: [size], initializer })),
        ...(index === 0 ? [{ name: 'embedding', shape: [7], initializer }] : []),
        ...(random.tied && index > 0 && index === random.blocks.length - 1
          ? [{ name: 'head', shape: [7], initializer, tiedTo: 'block0.embedding' }]
          : []),
      ],
    }));
    const frozen = new Set(random.frozenBlocks.map((index) => `block${index + 1}`));
    const layout = planFlatLayout(blocks, (name) => frozen.has(name.split('.')[0] ?? ''), random.worldSize);
    const { stage, compression } = random;
    const inputs: Omit<ProgramInputs, 'rank'> = {
      mesh: { pipeline: 1, data: random.worldSize, tensor: 1 },
      goal: random.goal,
      microBatches: random.microBatches,
      blocks: blocks.map(({ name }, index) => ({ name, activationBytes: 100 + index, outputBytes: 10 })),
      layout,
      bytesPerElement: 4,
      batchBytes: 16,
      optimizerBytes: layout.trainableElements * 8,
      schedule: random.clipped ? { maximumNorm: 1 } : {},
      recomputed: new Set(random.recomputed.filter((block) => block < blocks.length)),
      keptInputs: random.keptInputs ?? 'device',
      gradients: {
        bucketElements: random.bucketElements,
        overlap: random.overlap,
        ordered: random.sameOrder,
      },
      ...(stage !== 0 && { zero: { ...random, stage } }),
      ...(compression !== undefined && { compression: { compression, sequenceLength: 8 } }),
      precision: random.precision,
    };
    return Array.from({ length: random.worldSize }, (_, rank) => compileProgram({ ...inputs, rank }));
  });

test('every compiled program passes its check and means one synchronous step', () => {
  fc.assert(
    fc.property(worlds, (programs) => {
      const reports = checkPrograms(programs);
      assert.equal(meaning(programs), intendedMeaning(programs));
      const [program] = programs;
      assert.ok(program);
      if (program.sharding?.gradients === 'released' || program.errorFeedback !== undefined) return;
      const sent = reports
        .flatMap(({ collectives }) => collectives)
        .reduce((sum, { sentBytes }) => sum + sentBytes, 0);
      assert.ok(Math.abs(sent - bytesOfAllRanks(program)) < 1e-6);
    }),
    { numRuns: 300 },
  );
});

/** What the ranks together send where gradients are summed once: 2P (N−1) elements, and what they agree on. */
function bytesOfAllRanks(program: Program): number {
  const { worldSize, trainableElements, sharding, instructions, precision, buckets } = program;
  // Parameters travel as blocks compute with them.
  const gathered = precision?.bytesPerElement ?? 4;
  const reductions = instructions.flatMap((instruction) =>
    instruction.op === 'reduce' || instruction.op === 'scatter' ? [instruction] : [],
  );
  const compression = reductions[0]?.compression;
  const width = compression === undefined ? 4 : 2;
  const maxima = compression?.type === 'fp16-dynamic' ? reductions.length * 4 * worldSize : 0;
  // Compressed chunks of a bucket all travel as its largest.
  const chunks = buckets.map(({ start, end }) => worldSize * Math.ceil((end - start) / worldSize));
  const summed = compression ? chunks.reduce((sum, each) => sum + each, 0) : trainableElements;
  const bytes =
    sharding === undefined
      ? 2 * summed * width + TALLY_ELEMENTS * 4 * (compression === undefined ? 2 : worldSize)
      : trainableElements * (width + gathered) + 8 * (TALLY_ELEMENTS + 1) * worldSize;
  return (bytes + maxima) * (worldSize - 1);
}

test('every trainable element has one owner, and is in one message of gradients', () => {
  fc.assert(
    fc.property(worlds, (programs) => {
      const [program] = programs;
      assert.ok(program);
      const { sharding, buckets, worldSize, trainableElements, blocks } = program;
      if (worldSize === 1) return;
      const owners = new Array<number>(trainableElements).fill(0);
      const messages = new Array<number>(trainableElements).fill(0);
      const count = (counts: number[], start: number, end: number): void => {
        for (let element = start; element < end; element += 1) counts[element] = (counts[element] ?? 0) + 1;
      };
      for (const { start, end } of buckets) count(messages, start, end);
      for (const [block, { start, end }] of (sharding?.ranges ?? []).entries()) {
        const length = (end - start) / worldSize;
        for (let rank = 0; rank < worldSize; rank += 1) {
          const slice = start + rank * length;
          count(owners, slice, slice + length);
          for (const part of sharding?.parts ?? []) {
            if (part.block === block) count(messages, slice + part.start, slice + part.end);
          }
        }
      }
      const once = new Array<number>(trainableElements).fill(1);
      if (sharding !== undefined) assert.deepEqual(owners, once);
      assert.deepEqual(messages, once);
      for (const { trainable, offset, elements } of blocks.flatMap(({ parameters }) => parameters)) {
        if (trainable) assert.ok(offset + elements <= trainableElements);
      }
    }),
    { numRuns: 300 },
  );
});

test('a mutated program is refused, unless it still means the same', () => {
  const outcomes = { refused: 0, harmless: 0 };
  fc.assert(
    fc.property(worlds, mutations(), (programs, mutation) => {
      const intended = meaning(programs);
      const mutants = applyMutation(programs, mutation);
      const mutated = meaning(mutants);
      const error = thrownBy(() => checkPrograms(mutants));
      if (error === undefined) {
        outcomes.harmless += 1;
        assert.equal(mutated, intended, describeMutation(programs, mutation));
      } else {
        outcomes.refused += 1;
        assert.ok(error instanceof TrainyardError && error.code === 'PROGRAM_INVALID', String(error));
      }
    }),
    { numRuns: 2000 },
  );
  assert.ok(outcomes.refused > 500 && outcomes.harmless > 20, JSON.stringify(outcomes));
});

test('neighbours that do not depend on each other may change places', () => {
  fc.assert(
    fc.property(worlds, fc.nat(), fc.nat(), (programs, rank, position) => {
      const mutants = applyMutation(programs, { kind: 'swap', rank, position, other: position + 1 });
      if (meaning(mutants) === meaning(programs)) checkPrograms(mutants);
    }),
    { numRuns: 1000 },
  );
});

type Mutation = {
  readonly kind: 'delete' | 'duplicate' | 'move' | 'swap';
  readonly rank: number;
  readonly position: number;
  readonly other: number;
};

function mutations(): fc.Arbitrary<Mutation> {
  return fc.record({
    kind: fc.constantFrom('delete', 'duplicate', 'move', 'swap'),
    rank: fc.nat(),
    position: fc.nat(),
    other: fc.nat(),
  });
}

function applyMutation(programs: readonly Program[], mutation: Mutation): readonly Program[] {
  return programs.map((program, rank) => {
    if (rank !== mutation.rank % programs.length) return program;
    const instructions = [...program.instructions];
    const position = mutation.position % instructions.length;
    const other = mutation.other % instructions.length;
    const [chosen, second] = [instructions[position], instructions[other]];
    if (chosen === undefined || second === undefined) return program;
    if (mutation.kind === 'delete') instructions.splice(position, 1);
    else if (mutation.kind === 'move') instructions.splice(other, 0, ...instructions.splice(position, 1));
    else if (mutation.kind === 'duplicate') instructions.splice(other, 0, chosen);
    else [instructions[position], instructions[other]] = [second, chosen];
    return { ...program, instructions };
  });
}

function describeMutation(programs: readonly Program[], mutation: Mutation): string {
  const program = programs[mutation.rank % programs.length];
  const at = (index: number) => program?.instructions[index % program.instructions.length];
  const [chosen, other] = [at(mutation.position), at(mutation.other)];
  return `${mutation.kind} ${chosen && instructionText(chosen)} / ${other && instructionText(other)}`;
}

function thrownBy(action: () => unknown): unknown {
  try {
    action();
    return undefined;
  } catch (error) {
    return error;
  }
}
