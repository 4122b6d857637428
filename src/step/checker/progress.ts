import type { Effects } from '../effects/effect-table.js';
import { effectsOf } from '../effects.js';
import { instructionText } from '../instruction-text.js';
import type { Program } from '../program.js';
import { refusal } from './refusal.js';

/**
 * Proves that ranks do not wait for each other for ever, by running the programs of all together. Nothing is
 * buffered: a wait for something sent ends once the other side has started to receive it, a wait for something
 * received once the other side has started to send it, a wait for a collective once all of its ranks have started it.
 * How long things take makes no difference to what can run, so that one run proves all.
 *
 * Ranks whose programs are not given are taken to be in time. What is sent must be what is received (`checkMessages`,
 * `checkMeetings`).
 */
export function checkProgress(programs: readonly Program[]): void {
  const starts = new Starts();
  const ranks = programs.map((program) => new RankPlace(program, starts));
  const known = new Set(programs.map(({ rank }) => rank));
  for (let moved = true; moved; ) {
    moved = false;
    for (const rank of ranks) if (rank.advance(known)) moved = true;
  }
  const stuck = ranks.find((rank) => !rank.isDone);
  if (stuck !== undefined) throw deadlock(stuck, ranks, known);
}

/** Something that one rank has started and that others must start too. */
interface Shared {
  /** Which of the like it is on each rank: the k-th on the same way, or of the same group. */
  readonly index: number;
  readonly partners: readonly { readonly rank: number; readonly way: string }[];
}

/** How often every rank has started something on every way. */
class Starts {
  readonly #counts = new Map<string, number>();

  countOf(rank: number, way: string): number {
    return this.#counts.get(`${rank} ${way}`) ?? 0;
  }

  /** Returns how many there were before. */
  add(rank: number, way: string): number {
    const before = this.countOf(rank, way);
    this.#counts.set(`${rank} ${way}`, before + 1);
    return before;
  }
}

/** How far one rank has come. */
class RankPlace {
  position = 0;
  readonly #started = new Map<string, Shared>();

  constructor(
    readonly program: Program,
    readonly starts: Starts,
  ) {}

  get isDone(): boolean {
    return this.position >= this.program.instructions.length;
  }

  /** Runs up to a wait that cannot end yet. Returns whether anything ran. */
  advance(known: ReadonlySet<number>): boolean {
    const from = this.position;
    while (!this.isDone && this.waitsFor(known) === undefined) {
      const instruction = this.program.instructions[this.position];
      if (instruction === undefined) break;
      const effects = effectsOf(instruction, this.program);
      const shared = this.#share(effects);
      if (effects.starts !== undefined && shared !== undefined) this.#started.set(effects.starts, shared);
      this.position += 1;
    }
    return this.position > from;
  }

  /** A rank that has not started what the instruction at this place waits for. */
  waitsFor(known: ReadonlySet<number>): number | undefined {
    const instruction = this.program.instructions[this.position];
    if (instruction?.op !== 'wait') return undefined;
    const { completes = '' } = effectsOf(instruction, this.program);
    const shared = this.#started.get(completes);
    return shared?.partners.find(
      ({ rank, way }) => known.has(rank) && this.starts.countOf(rank, way) <= shared.index,
    )?.rank;
  }

  #share({ collective, message }: Effects): Shared | undefined {
    const { rank, groups } = this.program;
    if (message !== undefined) {
      const { direction, peer } = message;
      const [sender, receiver] = direction === 'send' ? [rank, peer] : [peer, rank];
      const way = (side: string) => `${side} ${sender} ${receiver}`;
      const index = this.starts.add(rank, way(direction));
      const opposite = direction === 'send' ? 'receive' : 'send';
      return { index, partners: [{ rank: peer, way: way(opposite) }] };
    }
    if (collective === undefined) return undefined;
    const members = groups[collective.group] ?? [];
    const way = `${collective.group} ${members.join()}`;
    const index = this.starts.add(rank, way);
    const others = members.filter((member) => member !== rank);
    return { index, partners: others.map((member) => ({ rank: member, way })) };
  }
}

/** The circle of ranks that wait for each other, or the rank that ended too early, told from one that cannot go on. */
function deadlock(stuck: RankPlace, ranks: readonly RankPlace[], known: ReadonlySet<number>) {
  const chain: RankPlace[] = [];
  let next: RankPlace | undefined = stuck;
  while (next !== undefined && !chain.includes(next)) {
    chain.push(next);
    const blocker: number | undefined = next.waitsFor(known);
    next = ranks.find(({ program }) => program.rank === blocker);
  }
  const circle = next === undefined ? chain : chain.slice(chain.indexOf(next));
  const [first = stuck, ...others] = circle;
  const told = others.map((place) => `rank ${place.program.rank}, which is at ${placeText(place)}`);
  const end = next === undefined ? [] : [`rank ${first.program.rank}`];
  const reason = `it waits for ${[...told, ...end].join(', and so for ')}: they would wait for ever`;
  return refusal(first.program, first.position, reason);
}

function placeText({ program, position, isDone }: RankPlace): string {
  const instruction = program.instructions[position];
  return isDone || instruction === undefined
    ? 'its end'
    : `instruction ${position} (${instructionText(instruction)})`;
}
