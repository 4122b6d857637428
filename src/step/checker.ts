import { type CollectiveSummary, checkMeetings, summarizeCollectives } from './checker/collectives.js';
import { followValues, type MemoryPeak } from './checker/data-flow.js';
import { checkMessages, type MessageSummary, summarizeMessages } from './checker/messages.js';
import { checkProgress } from './checker/progress.js';
import { refusal } from './checker/refusal.js';
import { checkStructure } from './checker/structure.js';
import type { Program } from './program.js';

/** What is known of a program that passed its check. */
export interface ProgramReport {
  readonly rank: number;
  readonly instructions: number;
  readonly peak: MemoryPeak;
  readonly collectives: readonly CollectiveSummary[];
  /** What goes from this rank to single others. */
  readonly messages: readonly MessageSummary[];
}

export interface CheckOptions {
  /** Live bytes that no instruction may exceed. */
  readonly budgetBytes?: number;
}

/**
 * Checks the programs of all ranks before they run, each by itself and then against the others: a group's
 * collectives must be the same on all its members, in the same order; what one rank sends another must receive, in the
 * same order; and they must not wait for each other for ever.
 *
 * @throws TrainyardError PROGRAM_INVALID with the rank, the instruction and the reason.
 */
export function checkPrograms(
  programs: readonly Program[],
  options: CheckOptions = {},
): readonly ProgramReport[] {
  const reports = programs.map((program) => checkProgram(program, options));
  checkMeetings(programs);
  checkMessages(programs);
  checkProgress(programs);
  return reports;
}

/**
 * Proves one rank's program before it runs: values exist when they are read, every start has one wait and
 * every wait a start, each gradient is reduced once, after its last backward and before it is used, nothing
 * stays behind in memory, and the peak of live bytes stays inside the budget.
 */
function checkProgram(program: Program, options: CheckOptions): ProgramReport {
  checkStructure(program);
  const peak = followValues(program);
  const { budgetBytes = Number.POSITIVE_INFINITY } = options;
  if (peak.bytes > budgetBytes) {
    throw refusal(program, peak.position, `${peak.bytes} bytes are live, ${budgetBytes} are allowed`);
  }
  const collectives = summarizeCollectives(program);
  const messages = summarizeMessages(program);
  return { rank: program.rank, instructions: program.instructions.length, peak, collectives, messages };
}
