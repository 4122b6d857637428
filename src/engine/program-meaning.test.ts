import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AsynchronousOperation, Instruction } from '../step/instruction.js';
import { startName } from '../step/instruction-text.js';
import type { Program } from '../step/program.js';

// The other reading of programs, for `compile-program.test.ts`: by what they compute.

test('a program without its update means nothing that was intended', () => {
  const program: Program = {
    rank: 0,
    worldSize: 1,
    goal: 'update',
    features: [],
    microBatches: 1,
    blocks: [{ name: 'only', parameters: [], activationBytes: 1, outputBytes: 1 }],
    trainableElements: 0,
    bytesPerElement: 4,
    batchBytes: 1,
    optimizerBytes: 0,
    groups: { data: [0] },
    buckets: [],
    instructions: [{ op: 'clear' }, { op: 'load', micro: 0 }],
  };
  assert.notEqual(meaning([program]), intendedMeaning([program]));
});

/**
 * What a set of programs computes, worked out without the table of effects: gradients are lists of
 * contributions, a reduction wraps the list, and whatever would crash, race, leak or not meet says so.
 */
export function meaning(programs: readonly Program[]): string {
  const ranks = programs.map(interpret);
  const meetings = new Set(ranks.map((rank) => rank.meetings));
  return meetings.size > 1 ? 'ranks do not meet' : ranks.map((rank) => rank.result).join('\n');
}

export function intendedMeaning(programs: readonly Program[]): string {
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
      case 'sum':
      case 'copy':
        throw new Fault('there are no groups here');
      case 'complete':
        throw new Fault('no tensor axis is here');
      case 'send':
      case 'receive':
        throw new Fault('there are no other stages here');
      case 'adopt':
      case 'update':
        throw new Fault('no update is delayed here');
      case 'accumulate':
        throw new Fault('no momentum is exchanged here');
      case 'exchange':
      case 'merge':
      case 'publish':
      case 'compare':
        throw new Fault('there are no replicas here');
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
    if (instruction.memory !== 'output')
      throw new Fault('training state in another tier is not for this machine');
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
