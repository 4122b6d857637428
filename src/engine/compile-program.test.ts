import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { planFlatLayout, TALLY_ELEMENTS } from '../nn/flat-layout.js';
import type { Precision } from '../precision/config.js';
import { checkPrograms } from '../step/checker.js';
import type { Instruction } from '../step/instruction.js';
import { type AsynchronousOperation, instructionText, startName } from '../step/instruction.js';
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
  const summed =
    compression === undefined
      ? trainableElements
      : buckets.reduce((sum, { start, end }) => sum + Math.ceil((end - start) / worldSize) * worldSize, 0);
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
      const { sharding } = program;
      const parts = sharding?.parts.map((part, index) => {
        const users = usersOf(program, part.block);
        return `part${index}=${total(users.flatMap((block) => micros.map((micro) => `${block}:${micro}`)))}`;
      });
      const owners =
        parts ??
        ownersOf(program).map((owner) => {
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

/** The blocks that use any of a block's memory. */
function usersOf(program: Program, block: number): readonly number[] {
  const owned = new Set(program.blocks[block]?.parameters.map(({ name }) => name));
  return [...program.blocks.keys()].filter(
    (other) => other === block || program.blocks[other]?.parameters.some(({ owner }) => owned.has(owner)),
  );
}

function interpret(program: Program): { readonly result: string; readonly meetings: string } {
  const meetings: string[] = [];
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
  /** Cells of memory that a started reduction works on, by its start. */
  readonly #flying = new Map<string, readonly string[]>();
  /** Blocks whose parameters are whole, and those that are becoming so. */
  readonly #whole = new Map<number, 'flying' | 'whole'>();
  readonly #prepared = new Map<number, number | undefined>();
  /** What is copied, and what the copy will be, by the start of the copy. */
  readonly #copies = new Map<string, { readonly from: string; readonly to: string }>();
  readonly #shards = new Map<string, readonly string[]>();
  #isCleared = false;
  #agreed: string | undefined;
  #norm: string | undefined;
  #checked: string | undefined;
  readonly #updates: string[] = [];
  #errorCopy: 'in time' | 'too late' | undefined;
  readonly #restored: string[] = [];

  constructor(
    readonly program: Program,
    readonly meetings: string[],
  ) {
    for (const owner of this.#buffer()) this.#gradients.set(owner, ['stale']);
  }

  run(instruction: Instruction): void {
    switch (instruction.op) {
      case 'clear':
        for (const owner of this.#buffer()) this.#write(owner, []);
        this.#shards.clear();
        this.#isCleared = true;
        return;
      case 'load':
        this.#create(`batch ${instruction.micro}`);
        return;
      case 'forward': {
        const { block, micro } = instruction;
        this.#need(`batch ${micro}`);
        this.#needParameters(block);
        if (block > 0) this.#need(`output ${block - 1} ${micro}`);
        this.#create(`output ${block} ${micro}`);
        if (instruction.drop !== true) this.#create(`graph ${block} ${micro}`);
        if (block === this.program.blocks.length - 1) this.#add('tally', `loss${micro}`);
        return;
      }
      case 'recompute': {
        const { block, micro } = instruction;
        this.#needParameters(block);
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
        this.#needParameters(block);
        if (this.program.sharding !== undefined) {
          for (const cell of this.#cellsUsedBy(block, micro)) this.#add(cell, `${block}:${micro}`);
          return;
        }
        for (const { owner, trainable } of this.program.blocks[block]?.parameters ?? []) {
          if (trainable) this.#add(owner, `${block}:${micro}`);
        }
        return;
      }
      case 'reduce': {
        const bucket = this.program.buckets[instruction.bucket];
        if (bucket === undefined || this.#flying.has(startName(instruction))) throw new Fault('bad start');
        this.meetings.push(startName(instruction));
        const owners = [...bucket.parameters, ...(bucket.carriesTally ? ['tally'] : [])];
        const sums = owners.map((owner) => this.#read(owner));
        this.#flying.set(startName(instruction), owners);
        for (const [index, owner] of owners.entries()) this.#gradients.set(owner, [`sum(${sums[index]})`]);
        return;
      }
      case 'wait':
        this.#wait(instruction.started);
        return;
      case 'evict':
        this.#copy(instruction, 'output', 'evicted');
        return;
      case 'fetch':
        this.#copy(instruction, 'evicted', 'output');
        return;
      case 'gather':
        if (this.#whole.has(instruction.block)) throw new Fault('gathered twice');
        this.meetings.push(startName(instruction));
        this.#whole.set(instruction.block, 'flying');
        return;
      case 'cast':
        if (this.#whole.has(instruction.block)) throw new Fault('cast twice');
        this.#whole.set(instruction.block, 'whole');
        return;
      case 'accumulate':
        throw new Fault('no momentum is exchanged here');
      case 'remember':
        if (this.#errorCopy) throw new Fault('copied twice');
        this.#errorCopy = /reduce|scatter/.test(this.meetings.join()) ? 'too late' : 'in time';
        return;
      case 'restore':
        if (!this.#errorCopy || !this.#checked) throw new Fault('nothing to restore');
        if (/reduce|scatter/.test([...this.#flying.keys()].join())) throw new Fault('a message on its way');
        this.#restored.push(this.#errorCopy);
        this.#errorCopy = undefined;
        return;
      case 'check':
        if (this.program.sharding !== undefined && this.#agreed === undefined) throw new Fault('not agreed');
        this.#checked = this.#everything();
        return;
      case 'prepare':
        if (this.#prepared.has(instruction.block) || !this.#isCleared) throw new Fault('bad memory');
        this.#prepared.set(instruction.block, instruction.micro);
        for (const cell of this.#cellsOf(instruction.block)) this.#write(cell, []);
        return;
      case 'release':
        if (instruction.memory === 'parameters') {
          if (this.#whole.get(instruction.block) !== 'whole') throw new Fault('released what is not whole');
          this.#whole.delete(instruction.block);
        } else {
          if (this.#prepared.get(instruction.block) !== instruction.micro) throw new Fault('other gradients');
          if (!this.#prepared.delete(instruction.block)) throw new Fault('no gradients to release');
          for (const cell of this.#cellsOf(instruction.block)) this.#write(cell, ['stale']);
        }
        return;
      case 'scatter': {
        const cell = `part${instruction.part}`;
        const name = startName(instruction);
        const block = this.program.sharding?.parts[instruction.part]?.block ?? -1;
        if (this.#flying.has(name) || !this.#hasGradients(block, instruction.micro))
          throw new Fault('bad scatter');
        this.meetings.push(name);
        this.#touch(cell);
        const contributions = this.#gradients.get(cell) ?? [];
        this.#shards.set(cell, [...(this.#shards.get(cell) ?? []), ...contributions]);
        this.#gradients.set(cell, ['summed']);
        this.#flying.set(name, [cell]);
        return;
      }
      case 'agree':
        if (this.#agreed !== undefined) throw new Fault('agreed twice');
        this.meetings.push(startName(instruction));
        this.#agreed = this.#everything();
        this.#flying.set(startName(instruction), ['tally']);
        return;
      case 'clip':
        if (this.program.sharding !== undefined && this.#agreed === undefined) throw new Fault('not agreed');
        this.#norm = this.#everything();
        return;
      case 'step':
        if ([...this.#whole.values()].includes('flying')) throw new Fault('a gather of what changes');
        if (this.#norm === undefined) throw new Fault('no norm');
        if (instruction.unlessOverflow && this.#checked !== this.#norm) throw new Fault('not checked');
        this.#updates.push(`[${this.#everything()}]`);
        if (this.program.sharding === undefined) this.#whole.clear();
        return;
      default:
        instruction satisfies never;
    }
  }

  result(): string {
    if (this.#alive.size > 0) return `leak of ${[...this.#alive]}`;
    if (this.#flying.size > 0) return 'unfinished reduction';
    if (this.#prepared.size > 0) return 'gradients left in memory';
    const restored = this.program.errorFeedback?.isRestored ? 'in time' : '';
    if (this.#errorCopy || this.#restored.join() !== restored) return 'errors of messages';
    const isKept = this.program.sharding?.parameters !== 'released';
    if ([...this.#whole.values()].some((state) => !isKept || state === 'flying')) return 'parameters left';
    return `norm[${this.#norm}] updates${this.#updates.join('')}`;
  }

  #copy(instruction: Instruction<'evict' | 'fetch'>, source: string, target: string): void {
    const { block, micro } = instruction;
    const [from, to] = [`${source} ${block} ${micro}`, `${target} ${block} ${micro}`];
    this.#need(from);
    this.#create(to);
    this.#copies.set(startName(instruction), { from, to });
  }

  #wait(started: Instruction<AsynchronousOperation>): void {
    if (started.op === 'evict' || started.op === 'fetch') {
      const copy = this.#copies.get(startName(started));
      if (copy === undefined) throw new Fault('bad wait');
      this.#copies.delete(startName(started));
      this.#destroy(copy.from);
    } else if (started.op === 'gather') {
      if (this.#whole.get(started.block) !== 'flying') throw new Fault('bad wait');
      this.#whole.set(started.block, 'whole');
    } else if (!this.#flying.delete(startName(started))) throw new Fault('bad wait');
  }

  #needParameters(block: number): void {
    const { sharding, precision, blocks } = this.program;
    if (sharding === undefined) {
      const owners =
        precision === undefined ? [] : [...blocks.keys()].filter((each) => this.#isTrained(each));
      for (const owner of owners) {
        const isUsed = usersOf(this.program, owner).includes(block);
        if (isUsed && !this.#whole.has(owner)) throw new Fault(`block ${owner} is not cast`);
      }
      return;
    }
    for (const [owner, { start, end }] of sharding.ranges.entries()) {
      const isUsed = end > start && usersOf(this.program, owner).includes(block);
      if (isUsed && this.#whole.get(owner) !== 'whole') throw new Fault(`block ${owner} is not whole`);
    }
  }

  #isTrained(block: number): boolean {
    const own = this.program.blocks[block]?.parameters ?? [];
    return own.some(({ name, owner, trainable }) => name === owner && trainable);
  }

  #hasGradients(block: number, micro: number | undefined): boolean {
    const { sharding } = this.program;
    if (sharding?.gradients === 'kept') return true;
    const expected = sharding?.reductions === 'every step' ? undefined : micro;
    return this.#prepared.has(block) && this.#prepared.get(block) === expected;
  }

  #cellsOf(block: number): readonly string[] {
    const parts = this.program.sharding?.parts ?? [];
    return parts.flatMap((part, index) => (part.block === block ? [`part${index}`] : []));
  }

  #cellsUsedBy(block: number, micro: number): readonly string[] {
    const owners = this.program.sharding?.ranges.flatMap(({ start, end }, owner) =>
      end > start && usersOf(this.program, owner).includes(block) ? [owner] : [],
    );
    return (owners ?? []).flatMap((owner) => {
      if (!this.#hasGradients(owner, micro)) throw new Fault(`no gradients of block ${owner}`);
      return this.#cellsOf(owner);
    });
  }

  #buffer(): readonly string[] {
    const { sharding } = this.program;
    if (sharding !== undefined) return [...sharding.parts.map((_, part) => `part${part}`), 'tally'];
    return [...ownersOf(this.program), 'tally'];
  }

  #everything(): string {
    const isSharded = this.program.sharding !== undefined;
    return this.#buffer()
      .map((owner) => `${owner}=${isSharded ? `sum(${this.#readShard(owner)})` : this.#read(owner)}`)
      .join(' ');
  }

  #read(owner: string): string {
    this.#touch(owner);
    return [...(this.#gradients.get(owner) ?? [])].sort().join('+');
  }

  /** What is summed over the ranks of one part; the tally is as each rank has it until all agree. */
  #readShard(cell: string): string {
    this.#touch(cell);
    const from = cell === 'tally' ? this.#gradients : this.#shards;
    return [...(from.get(cell) ?? [])].sort().join('+');
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
    const isUnfinished = [...this.#copies.values()].some(({ to }) => to === thing);
    if (!this.#alive.has(thing) || isUnfinished) throw new Fault(`no ${thing}`);
  }

  #create(thing: string): void {
    if (this.#alive.has(thing)) throw new Fault(`${thing} twice`);
    this.#alive.add(thing);
  }

  #destroy(thing: string): void {
    this.#need(thing);
    if ([...this.#copies.values()].some(({ from }) => from === thing)) throw new Fault(`race on ${thing}`);
    this.#alive.delete(thing);
  }
}
