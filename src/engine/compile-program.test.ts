import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { planFlatLayout, TALLY_ELEMENTS } from '../nn/flat-layout.js';
import { checkPrograms } from '../step/checker.js';
import type { Instruction } from '../step/instruction.js';
import { instructionText } from '../step/instruction.js';
import type { Program } from '../step/program.js';
import { compileProgram, type ProgramInputs } from './compile-program.js';

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
    goal: fc.constantFrom<Program['goal']>('update', 'gradients'),
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
    const layout = planFlatLayout(blocks, (name) => frozen.has(name.split('.')[0] ?? ''));
    const inputs: Omit<ProgramInputs, 'rank'> = {
      worldSize: random.worldSize,
      goal: random.goal,
      microBatches: random.microBatches,
      blocks: blocks.map(({ name }, index) => ({ name, activationBytes: 100 + index, outputBytes: 10 })),
      layout,
      bytesPerElement: 4,
      batchBytes: 16,
      optimizerBytes: layout.trainableElements * 8,
      schedule: random.clipped ? { maximumNorm: 1 } : {},
      recomputed: new Set(random.recomputed.filter((block) => block < blocks.length)),
      gradients: { bucketElements: random.bucketElements, overlap: random.overlap },
    };
    return Array.from({ length: random.worldSize }, (_, rank) => compileProgram({ ...inputs, rank }));
  });

test('every compiled program passes its check and means one synchronous step', () => {
  fc.assert(
    fc.property(worlds, (programs) => {
      const reports = checkPrograms(programs);
      assert.equal(meaning(programs), intendedMeaning(programs));
      const [program, report] = [programs[0], reports[0]];
      assert.ok(program && report);
      const ranks = program.worldSize;
      const elements = program.trainableElements + TALLY_ELEMENTS;
      const sent = report.collectives.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
      assert.ok(Math.abs(sent - (2 * elements * 4 * (ranks - 1)) / ranks) < 1e-6);
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

/**
 * What a set of programs computes, worked out without the table of effects: gradients are lists of
 * contributions, a reduction wraps the list, and whatever would crash, race, leak or not meet says so.
 */
function meaning(programs: readonly Program[]): string {
  const ranks = programs.map(interpret);
  const meetings = new Set(ranks.map((rank) => rank.meetings));
  return meetings.size > 1 ? 'ranks do not meet' : ranks.map((rank) => rank.result).join('\n');
}

function intendedMeaning(programs: readonly Program[]): string {
  return programs
    .map((program) => {
      const micros = Array.from({ length: program.microBatches }, (_, micro) => micro);
      const total = (parts: readonly string[]) => {
        const sum = [...parts].sort().join('+');
        return program.worldSize > 1 ? `sum(${sum})` : sum;
      };
      const owners = ownersOf(program).map((owner) => {
        const users = [...program.blocks.keys()].filter((block) =>
          program.blocks[block]?.parameters.some((parameter) => parameter.owner === owner),
        );
        return `${owner}=${total(users.flatMap((block) => micros.map((micro) => `${block}:${micro}`)))}`;
      });
      const gradients = [...owners, `tally=${total(micros.map((micro) => `loss${micro}`))}`].join(' ');
      return `norm[${gradients}] ${program.goal === 'update' ? `updates[${gradients}]` : 'updates'}`;
    })
    .join('\n');
}

function ownersOf(program: Program): readonly string[] {
  return program.blocks
    .flatMap((block) => block.parameters)
    .filter((parameter) => parameter.trainable && parameter.owner === parameter.name)
    .map((parameter) => parameter.name);
}

function interpret(program: Program): { readonly result: string; readonly meetings: string } {
  const meetings: number[] = [];
  try {
    const machine = new SymbolicRank(program, meetings);
    for (const instruction of program.instructions) machine.run(instruction);
    return { result: machine.result(), meetings: meetings.join() };
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return { result: error.message, meetings: meetings.join() };
  }
}

class Fault extends Error {}

class SymbolicRank {
  readonly #gradients = new Map<string, readonly string[]>();
  readonly #alive = new Set<string>();
  readonly #flying = new Map<number, readonly string[]>();
  #norm: string | undefined;
  readonly #updates: string[] = [];

  constructor(
    readonly program: Program,
    readonly meetings: number[],
  ) {
    for (const owner of this.#buffer()) this.#gradients.set(owner, ['stale']);
  }

  run(instruction: Instruction): void {
    switch (instruction.op) {
      case 'clear':
        for (const owner of this.#buffer()) this.#write(owner, []);
        return;
      case 'load':
        this.#create(`batch ${instruction.micro}`);
        return;
      case 'forward': {
        const { block, micro } = instruction;
        this.#need(`batch ${micro}`);
        if (block > 0) this.#need(`output ${block - 1} ${micro}`);
        this.#create(`output ${block} ${micro}`);
        if (instruction.drop !== true) this.#create(`graph ${block} ${micro}`);
        if (block === this.program.blocks.length - 1) this.#add('tally', `loss${micro}`);
        return;
      }
      case 'recompute': {
        const { block, micro } = instruction;
        this.#need(`batch ${micro}`);
        if (block > 0) this.#need(`output ${block - 1} ${micro}`);
        this.#need(`output ${block} ${micro}`);
        if (block < this.program.blocks.length - 1) this.#need(`gradient ${block} ${micro}`);
        this.#create(`graph ${block} ${micro}`);
        return;
      }
      case 'backward': {
        const { block, micro } = instruction;
        this.#destroy(`output ${block} ${micro}`);
        this.#destroy(`graph ${block} ${micro}`);
        if (block < this.program.blocks.length - 1) this.#destroy(`gradient ${block} ${micro}`);
        if (block > 0) this.#create(`gradient ${block - 1} ${micro}`);
        else this.#destroy(`batch ${micro}`);
        for (const { owner, trainable } of this.program.blocks[block]?.parameters ?? []) {
          if (trainable) this.#add(owner, `${block}:${micro}`);
        }
        return;
      }
      case 'reduce': {
        const bucket = this.program.buckets[instruction.bucket];
        if (bucket === undefined || this.#flying.has(instruction.bucket)) throw new Fault('bad start');
        this.meetings.push(instruction.bucket);
        const owners = [...bucket.parameters, ...(bucket.carriesTally ? ['tally'] : [])];
        const sums = owners.map((owner) => this.#read(owner));
        this.#flying.set(instruction.bucket, owners);
        for (const [index, owner] of owners.entries()) this.#gradients.set(owner, [`sum(${sums[index]})`]);
        return;
      }
      case 'wait':
        if (!this.#flying.delete(instruction.started.bucket)) throw new Fault('bad wait');
        return;
      case 'clip':
        this.#norm = this.#everything();
        return;
      case 'step':
        if (this.#norm === undefined) throw new Fault('no norm');
        this.#updates.push(`[${this.#everything()}]`);
        return;
      default:
        instruction satisfies never;
    }
  }

  result(): string {
    if (this.#alive.size > 0) return `leak of ${[...this.#alive]}`;
    if (this.#flying.size > 0) return 'unfinished reduction';
    return `norm[${this.#norm}] updates${this.#updates.join('')}`;
  }

  #buffer(): readonly string[] {
    return [...ownersOf(this.program), 'tally'];
  }

  #everything(): string {
    return this.#buffer()
      .map((owner) => `${owner}=${this.#read(owner)}`)
      .join(' ');
  }

  #read(owner: string): string {
    this.#touch(owner);
    return [...(this.#gradients.get(owner) ?? [])].sort().join('+');
  }

  #add(owner: string, contribution: string): void {
    this.#write(owner, [...(this.#gradients.get(owner) ?? []), contribution]);
  }

  #write(owner: string, contributions: readonly string[]): void {
    this.#touch(owner);
    this.#gradients.set(owner, contributions);
  }

  #touch(owner: string): void {
    for (const owners of this.#flying.values())
      if (owners.includes(owner)) throw new Fault(`race on ${owner}`);
  }

  #need(thing: string): void {
    if (!this.#alive.has(thing)) throw new Fault(`no ${thing}`);
  }

  #create(thing: string): void {
    if (this.#alive.has(thing)) throw new Fault(`${thing} twice`);
    this.#alive.add(thing);
  }

  #destroy(thing: string): void {
    this.#need(thing);
    this.#alive.delete(thing);
  }
}
