import type { Account, Allocation, Made } from './effects/effect-table.js';
import { BETWEEN_HOSTS } from './effects/exchange-messages.js';
import { effectsOf } from './effects.js';
import { membersOf, type Program } from './program.js';

/**
 * The buffers that a rank keeps to use them again and again (see `Made.memory`), as many and as long as they
 * are once steps have settled: they stand through the whole step, whatever is in them.
 */
export function standingBuffers(program: Program): readonly Made[] {
  const messages = new MessagePool();
  const blocks = new BlockPool();
  // The first step finds no buffers, and may leave them in an order in which the next lets some grow.
  for (let before = -1; blocks.bytes !== before; ) {
    before = blocks.bytes;
    replay(program, { messages, blocks });
  }
  return [
    standing('buckets', messages.bytes + copiedBytes(program)),
    standing('gathered', blocks.bytesFor('gathered')),
    standing('gradients', blocks.bytes - blocks.bytesFor('gathered')),
  ].filter(({ memory }) => memory !== undefined && memory.bytes > 0);
}

/** `native/shared-memory/shared-group.cc`: messages that are shorter are copied beside the ranks' meeting point. */
const INLINE_BYTES = 1 << 19;
const INLINE_BYTES_OF_ALL = 1 << 20;

/** Where ranks read each other, the copy that they can see of compressed messages, which lie in memory of their own. */
function copiedBytes(program: Program): number {
  if (program.readsInPlace !== true) return 0;
  const shown = program.instructions.map((instruction) => {
    const { collective } = effectsOf(instruction, program);
    if (collective?.codec === undefined || collective.codec.endsWith(BETWEEN_HOSTS)) return 0;
    const ranks = membersOf(program, collective.group).length;
    const bytes = collective.kind === 'all-gather' ? collective.bytes / ranks : collective.bytes;
    return bytes <= INLINE_BYTES && bytes * ranks <= INLINE_BYTES_OF_ALL ? 0 : bytes;
  });
  return Math.max(0, ...shown);
}

function standing(account: Account, bytes: number): Made {
  return { value: `buffers (${account})`, memory: { account, bytes } };
}

/** Where memory is taken for a value, and given back with it. */
interface Pool {
  take(value: string, allocation: Allocation): void;
  give(value: string): void;
}

/** Takes and gives back in the order of the program, and at its end all that is left. */
function replay(program: Program, pools: { readonly messages: MessagePool; readonly blocks: Pool }): void {
  const pending = new Map<string, readonly string[]>();
  const taken = new Map<string, Pool>();
  const give = (value: string): void => {
    taken.get(value)?.give(value);
    taken.delete(value);
  };
  for (const instruction of program.instructions) {
    const { makes, frees, starts, completes, collective } = effectsOf(instruction, program);
    // What goes in stages is the data axis's, and so are the starts that take it further.
    if (collective?.group === 'data') pools.messages.advance();
    for (const value of completes === undefined ? [] : (pending.get(completes) ?? [])) give(value);
    for (const { value, memory } of makes) {
      if (memory?.pool === undefined) continue;
      pools[memory.pool].take(value, memory);
      taken.set(value, pools[memory.pool]);
    }
    if (starts !== undefined) pending.set(starts, frees);
    else for (const value of frees) give(value);
  }
  for (const value of [...taken.keys()]) give(value);
}

/**
 * `comm/message-buffers.ts`: as many as are ever in use at once, each as long as the longest message. What goes in stages
 * uses some in each (`comm/staged-work.ts`).
 */
class MessagePool implements Pool {
  #longest = 0;
  #most = 0;
  readonly #used = new Map<string, number>();
  /** Of what goes in stages, what it uses in those to come. */
  readonly #toCome = new Map<string, readonly number[]>();

  get bytes(): number {
    return this.#most * this.#longest;
  }

  take(value: string, { bytes, held }: Allocation): void {
    this.#longest = Math.max(this.#longest, bytes);
    const [now = 0, ...later] = held ?? [1];
    if (held !== undefined) this.#toCome.set(value, later);
    this.#use(value, now);
  }

  /** A wait takes all stages further until those of the value are over. */
  give(value: string): void {
    while (this.#toCome.has(value)) this.advance();
    this.#used.delete(value);
  }

  /** Takes everything that goes in stages one further, the oldest first. */
  advance(): void {
    for (const [value, [now, ...later]] of [...this.#toCome]) {
      this.#use(value, now ?? 0);
      if (now === undefined) this.#toCome.delete(value);
      else this.#toCome.set(value, later);
    }
  }

  #use(value: string, buffers: number): void {
    this.#used.set(value, buffers);
    this.#most = Math.max(
      this.#most,
      [...this.#used.values()].reduce((sum, each) => sum + each, 0),
    );
  }
}

interface Buffer {
  readonly bytes: number;
  readonly account: Account;
}

/**
 * `native/kernels/released_memory.cc`: the shortest free buffer that is long enough; else the longest gives way
 * to a new one.
 */
class BlockPool implements Pool {
  #free: readonly Buffer[] = [];
  readonly #used = new Map<string, Buffer>();
  readonly #most = new Map<Account, number>();

  get bytes(): number {
    return sumOf([...this.#free, ...this.#used.values()]);
  }

  /** The most that was ever used for this at once; buffers serve one account after the other. */
  bytesFor(account: Account): number {
    return Math.min(this.bytes, this.#most.get(account) ?? 0);
  }

  take(value: string, { bytes, account }: Allocation): void {
    const byLength = [...this.#free].sort((left, right) => left.bytes - right.bytes);
    const chosen = byLength.find((buffer) => buffer.bytes >= bytes) ?? byLength.at(-1);
    this.#free = this.#free.filter((buffer) => buffer !== chosen);
    this.#used.set(value, { bytes: Math.max(bytes, chosen?.bytes ?? 0), account });
    const used = sumOf([...this.#used.values()].filter((buffer) => buffer.account === account));
    this.#most.set(account, Math.max(this.#most.get(account) ?? 0, used));
  }

  give(value: string): void {
    const buffer = this.#used.get(value);
    this.#used.delete(value);
    if (buffer !== undefined) this.#free = [...this.#free, buffer];
  }
}

function sumOf(buffers: readonly Buffer[]): number {
  return buffers.reduce((sum, { bytes }) => sum + bytes, 0);
}
