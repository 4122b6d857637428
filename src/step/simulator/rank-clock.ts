import { followValues } from '../checker/data-flow.js';
import type { Collective, Message, TierCopy } from '../effects/effect-table.js';
import { effectsOf } from '../effects.js';
import type { Instruction } from '../instruction.js';
import { instructionText } from '../instruction-text.js';
import type { Program } from '../program.js';
import type { Slice } from '../timeline.js';
import type { CostModel, SimulatedRank } from './simulation.js';

/** Something that a rank has started and that has not run yet. */
export interface Queued<What> {
  readonly name: string;
  readonly what: What;
  readonly issuedMs: number;
}

/** One rank's place in its program and on its streams. */
export class RankClock {
  readonly collectives: Queued<Collective>[] = [];
  /** What it has started to send, and to receive, by the other side's rank. */
  readonly sent = new Map<number, Queued<Message>[]>();
  readonly received = new Map<number, Queued<Message>[]>();
  /** When the link to a rank has brought it all that ran so far. */
  readonly linkFreeMs = new Map<number, number>();
  readonly slices: Slice[] = [];
  communicationFreeMs = 0;
  #position = 0;
  #nowMs = 0;
  #computeMs = 0;
  #communicationMs = 0;
  #copyFreeMs = 0;
  #copyMs = 0;
  #exposedMs = 0;
  readonly #finished = new Map<string, number>();

  constructor(
    readonly program: Program,
    readonly costs: CostModel,
  ) {}

  get isDone(): boolean {
    return this.#position === this.program.instructions.length;
  }

  /** Runs instructions up to a wait for something that has no end yet. Returns whether any ran. */
  advance(): boolean {
    const from = this.#position;
    for (;;) {
      const instruction = this.program.instructions[this.#position];
      if (instruction === undefined) break;
      const { starts, completes, collective, message, copy } = effectsOf(instruction, this.program);
      const readyMs = completes === undefined ? this.#nowMs : this.#finished.get(completes);
      if (readyMs === undefined) break;
      if (completes !== undefined) this.#finished.delete(completes);
      this.#run(instruction, readyMs);
      if (starts !== undefined && collective !== undefined) {
        this.collectives.push({ name: starts, what: collective, issuedMs: this.#nowMs });
      }
      if (starts !== undefined && message !== undefined) this.#post(starts, message);
      if (starts !== undefined && copy !== undefined) this.#copy(starts, copy);
      this.#position += 1;
    }
    return this.#position > from;
  }

  finishCollective(startMs: number, endMs: number): void {
    const head = this.collectives.shift();
    if (head === undefined) return;
    this.communicationFreeMs = endMs;
    this.finish(head.name, startMs, endMs);
  }

  /** Something that was started and has run. */
  finish(name: string, startMs: number, endMs: number): void {
    this.#finished.set(name, endMs);
    this.#communicationMs += endMs - startMs;
    this.#draw({ stream: 'communication', name, startMs, endMs });
  }

  result(): SimulatedRank {
    return {
      rank: this.program.rank,
      endMs: this.#nowMs,
      computeMs: this.#computeMs,
      communicationMs: this.#communicationMs,
      copyMs: this.#copyMs,
      exposedMs: this.#exposedMs,
      peakBytes: followValues(this.program).bytes,
    };
  }

  #run(instruction: Instruction, readyMs: number): void {
    const startMs = this.#nowMs;
    const waitMs = Math.max(0, readyMs - startMs);
    const costMs = this.costs.compute(instruction, this.program);
    this.#exposedMs += waitMs;
    this.#computeMs += costMs;
    this.#nowMs = startMs + waitMs + costMs;
    this.#draw({
      stream: 'compute',
      name: instructionText(instruction),
      startMs,
      endMs: this.#nowMs,
      ...(instruction.op === 'wait' && { isWait: true }),
    });
  }

  #post(name: string, message: Message): void {
    const queues = message.direction === 'send' ? this.sent : this.received;
    const queue = queues.get(message.peer) ?? [];
    queues.set(message.peer, queue);
    queue.push({ name, what: message, issuedMs: this.#nowMs });
  }

  /** Needs nobody else, so that its end is known as soon as it is started. */
  #copy(name: string, copy: TierCopy): void {
    const startMs = Math.max(this.#copyFreeMs, this.#nowMs);
    const endMs = startMs + this.costs.copy(copy);
    this.#finished.set(name, endMs);
    this.#copyFreeMs = endMs;
    this.#copyMs += endMs - startMs;
    this.#draw({ stream: 'copy', name, startMs, endMs });
  }

  #draw(slice: Omit<Slice, 'rank'>): void {
    if (slice.endMs > slice.startMs) this.slices.push({ rank: this.program.rank, ...slice });
  }
}
