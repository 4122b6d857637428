import { invariant } from '../base/errors.js';
import type { Handed, Instruction } from '../step/instruction.js';
import { type ScheduleOptions, schedule as scheduleAlone } from '../step/passes/schedule.js';
import type { Pass, PipelineStage, Program } from '../step/program.js';
import { incoming, outgoing, type StageMessage } from './messages.js';
import { planTurns, type ScheduleName } from './schedule.js';
import type { PipelineShape, Turn } from './schedules/turn.js';

export interface ScheduleStagesOptions extends ScheduleOptions {
  /** The order of turns. */
  readonly schedule: ScheduleName;
}

/**
 * The schedule of one stage of a pipeline (DeepSpeed: PipeSchedule), in place of that of one process: turns, and around
 * them what comes from other stages and goes to them.
 *
 * What a turn needs is received under the turn before it, so that one message is on its way to each stage while it
 * computes. An output is waited for where its own backward is about to free it, a gradient before the next one leaves.
 *
 * A program of one stage gets the plain schedule.
 */
export function scheduleStages({ schedule, ...options }: ScheduleStagesOptions): Pass {
  return (program) => {
    const { pipeline } = program;
    if (pipeline === undefined || pipeline.stages === 1) return scheduleAlone(options)(program);
    const writer = new StageWriter(program, pipeline, schedule);
    const instructions: readonly Instruction[] = [
      { op: 'clear' },
      ...writer.write(),
      { op: 'clip', ...options },
      ...(program.goal === 'update' ? [{ op: 'step' } as const] : []),
    ];
    return {
      ...program,
      features: [...program.features, ...featuresOf(program, pipeline, schedule)],
      instructions,
    };
  };
}

function featuresOf(
  { microBatches }: Program,
  { stage, stages, chunks }: PipelineStage,
  schedule: ScheduleName,
): readonly string[] {
  const order = chunks.length === 1 ? schedule : `${schedule}, ${chunks.length} chunks`;
  return [
    `${microBatches} micro-batch${microBatches === 1 ? '' : 'es'}`,
    `pipeline stage ${stage} of ${stages} (${order})`,
  ];
}

/** Writes the instructions of one stage, and knows what is on its way. */
class StageWriter {
  readonly #instructions: Instruction[] = [];
  readonly #shape: PipelineShape;
  readonly #turns: readonly Turn[];
  readonly #loaded = new Set<number>();
  readonly #leaving = new Map<string, Instruction<'send'>>();

  constructor(
    readonly program: Program,
    readonly pipeline: PipelineStage,
    schedule: ScheduleName,
  ) {
    const { stage, stages, chunks } = pipeline;
    this.#shape = { stage, stages, chunks: chunks.length, microBatches: program.microBatches };
    this.#turns = planTurns(schedule, this.#shape);
  }

  write(): readonly Instruction[] {
    const [first] = this.#turns;
    this.#receive(first && incoming(first, this.#shape));
    for (const [index, turn] of this.#turns.entries()) {
      const message = incoming(turn, this.#shape);
      if (message !== undefined) {
        this.#instructions.push({ op: 'wait', started: { op: 'receive', ...this.#handed(message) } });
      }
      const next = this.#turns[index + 1];
      this.#receive(next && incoming(next, this.#shape));
      this.#run(turn);
      this.#send(outgoing(turn, this.#shape));
    }
    for (const name of [...this.#leaving.keys()]) this.#settle(name);
    return this.#instructions;
  }

  #run({ kind, chunk, micro }: Turn): void {
    const blocks = this.pipeline.chunks[chunk] ?? [];
    const backwards = [...blocks].reverse();
    switch (kind) {
      case 'forward':
        this.#load(micro);
        for (const block of blocks) this.#instructions.push({ op: 'forward', block, micro });
        return;
      case 'backward':
        this.#settle(keyOf('output', blocks.at(-1), micro));
        for (const block of backwards) this.#instructions.push({ op: 'backward', block, micro });
        return;
      case 'backward-input':
        this.#settle(keyOf('output', blocks.at(-1), micro));
        for (const block of backwards)
          this.#instructions.push({ op: 'backward', block, micro, half: 'input' });
        return;
      case 'backward-weights':
        for (const block of backwards)
          this.#instructions.push({ op: 'backward', block, micro, half: 'weights' });
        return;
      default:
        kind satisfies never;
    }
  }

  #load(micro: number): void {
    if (this.#loaded.has(micro)) return;
    this.#loaded.add(micro);
    this.#instructions.push({ op: 'load', micro });
  }

  #receive(message: StageMessage | undefined): void {
    if (message === undefined) return;
    this.#load(message.micro);
    this.#instructions.push({ op: 'receive', ...this.#handed(message) });
  }

  #send(message: StageMessage | undefined): void {
    if (message === undefined) return;
    const handed = this.#handed(message);
    if (handed.memory === 'gradient') {
      for (const [name, sent] of this.#leaving) if (sent.memory === 'gradient') this.#settle(name);
    }
    const send: Instruction<'send'> = { op: 'send', ...handed };
    this.#instructions.push(send);
    this.#leaving.set(keyOf(handed.memory, handed.block, handed.micro), send);
  }

  /** Waits for what was sent, if it was. */
  #settle(name: string): void {
    const started = this.#leaving.get(name);
    if (started === undefined) return;
    this.#leaving.delete(name);
    this.#instructions.push({ op: 'wait', started });
  }

  /** In the terms of programs: blocks of the model and ranks of the world. */
  #handed({ memory, border, micro, peer }: StageMessage): Handed {
    return {
      memory,
      block: this.#blockAt(border),
      micro,
      peer: this.program.groups.pipeline?.[peer] ?? peer,
    };
  }

  /** The block whose output crosses a border of this stage: the last of its chunk, or the one before its first. */
  #blockAt(border: number): number {
    const { stage, stages, chunks } = this.pipeline;
    const ended = border % stages === stage ? chunks[Math.floor(border / stages)]?.at(-1) : undefined;
    const begun = chunks[Math.floor((border + 1) / stages)]?.[0];
    const block = ended ?? (begun === undefined ? undefined : begun - 1);
    invariant(block !== undefined, `stage ${stage} has nothing to do with border ${border}`);
    return block;
  }
}

function keyOf(memory: Handed['memory'], block: number | undefined, micro: number): string {
  return `${memory} ${block} ${micro}`;
}
