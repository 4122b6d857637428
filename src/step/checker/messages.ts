import type { Message } from '../effects/effect-table.js';
import { effectsOf } from '../effects.js';
import type { Handed } from '../instruction.js';
import { instructionText } from '../instruction-text.js';
import type { Program } from '../program.js';
import { refusal } from './refusal.js';

/** What a rank sends to one other in a step. */
export interface MessageSummary {
  readonly memory: Handed['memory'];
  /** The other's rank in the world. */
  readonly peer: number;
  readonly count: number;
  readonly sentBytes: number;
}

/** A message with the place that asks for it. */
interface Occurrence extends Message {
  readonly position: number;
}

export function summarizeMessages(program: Program): readonly MessageSummary[] {
  const summaries = new Map<string, MessageSummary>();
  for (const instruction of program.instructions) {
    if (instruction.op !== 'send') continue;
    const { memory, peer } = instruction;
    const before = summaries.get(`${memory} ${peer}`);
    const bytes = effectsOf(instruction, program).message?.bytes ?? 0;
    summaries.set(`${memory} ${peer}`, {
      memory,
      peer,
      count: (before?.count ?? 0) + 1,
      sentBytes: (before?.sentBytes ?? 0) + bytes,
    });
  }
  return [...summaries.values()];
}

/** Refuses programs of which one does not receive what another sends: the same things, as long, in the same order. */
export function checkMessages(programs: readonly Program[]): void {
  const messages = new Map(programs.map((program) => [program.rank, messagesOf(program)]));
  for (const program of programs) {
    const own = messages.get(program.rank) ?? [];
    for (const other of programs) {
      if (other === program) continue;
      const sent = own.filter(({ direction, peer }) => direction === 'send' && peer === other.rank);
      const received = (messages.get(other.rank) ?? []).filter(
        ({ direction, peer }) => direction === 'receive' && peer === program.rank,
      );
      checkWay(program, sent, other, received);
    }
  }
}

function checkWay(
  sender: Program,
  sent: readonly Occurrence[],
  receiver: Program,
  received: readonly Occurrence[],
): void {
  for (let index = 0; index < Math.max(sent.length, received.length); index += 1) {
    const [out, into] = [sent[index], received[index]];
    if (out?.subject === into?.subject && out?.bytes === into?.bytes) continue;
    if (into === undefined) {
      throw refusal(sender, out?.position, `rank ${receiver.rank} never receives what is sent to it here`);
    }
    const comes = out === undefined ? 'nothing more' : describe(sender, out);
    throw refusal(receiver, into.position, `${describe(receiver, into)} meets ${comes}`);
  }
}

function messagesOf(program: Program): readonly Occurrence[] {
  return program.instructions.flatMap((instruction, position) => {
    const { message } = effectsOf(instruction, program);
    return message === undefined ? [] : [{ ...message, position }];
  });
}

function describe(program: Program, { bytes, position }: Occurrence): string {
  const instruction = program.instructions[position];
  const text = instruction === undefined ? '' : instructionText(instruction);
  return `${bytes} bytes (rank ${program.rank}, instruction ${position}: ${text})`;
}
