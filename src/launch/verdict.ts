import type { ErrorReport } from '../base/errors.js';
import type { ErrorEvent } from './events.js';
import type { Section } from './flight-record.js';
import { hasFailed, isStopped, type RankFate, type RunState } from './run-state.js';
import { stopExitCode } from './stop-signals.js';

/** How a run ended: what to print and what to exit with. */
export interface Verdict {
  readonly exitCode: number;
  /** The one failure that explains the others. */
  readonly cause?: ErrorEvent;
  /** What followed from it, a line each. */
  readonly consequences: readonly string[];
  /** Who is to blame, as far as is known, and in which step it was (0: not yet in the first). */
  readonly lost?: { readonly rank: number; readonly step: number };
}

/** What a rank is called in messages. */
export interface RankName {
  /** Its number among all ranks of the run. */
  readonly rank: number;
  /** Where it runs, if that is another host. */
  readonly host?: string;
}

/** What the supervisor knows beside the ranks' own words. */
export interface Evidence {
  /** The ranks it watches, which may be a part of those that there are; left out: all, numbered as they come. */
  readonly world?: { readonly names: readonly RankName[]; readonly size: number };
  /** The last section of each rank. */
  readonly sections: readonly (Section | undefined)[];
  /** Whether the kernel's count of processes killed for memory grew during the run. */
  readonly isOutOfMemory: boolean;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

/** Codes that say no more than "a peer is gone": whoever else failed is the cause. */
const ECHO_CODES: ReadonlySet<string> = new Set(['COLLECTIVE_FAILED', 'RENDEZVOUS_FAILED']);

/** Judges a run that is over. The earliest failure that is not an echo of another one is the cause. */
export function judge(state: RunState, evidence: Evidence): Verdict {
  if (state.phase === 'leaving')
    return { exitCode: stopExitCode(state.stopSignal ?? 'SIGTERM'), consequences: [] };
  const failed = state.ranks
    .map((fate, rank) => ({ fate, rank }))
    .filter(({ rank }) => hasFailed(state, rank))
    .sort(
      (left, right) =>
        Number(isEcho(left.fate)) - Number(isEcho(right.fate)) || timeOf(left.fate) - timeOf(right.fate),
    );
  const [first, ...later] = failed;
  if (first === undefined) return { exitCode: peacefulExitCode(state), consequences: [] };
  const cause = describeFailure(state, first.rank, first.fate, evidence);
  const consequences = later.flatMap(({ fate, rank }) =>
    describeConsequence(labelOf(rank, evidence), fate, cause),
  );
  return {
    exitCode: cause.exit_code,
    cause,
    consequences: [...consequences, ...describeKilled(state, evidence)],
    lost: lostRank(state, first, evidence),
  };
}

/** Where a rank only tells that another is gone or silent, the one that did not leave when it was asked. */
function lostRank(
  state: RunState,
  { fate, rank }: { readonly fate: RankFate; readonly rank: number },
  { sections }: Evidence,
): NonNullable<Verdict['lost']> {
  const stuck = isEcho(fate)
    ? state.ranks.findIndex(({ killed, error }) => killed && error === undefined)
    : -1;
  const culprit = stuck === -1 ? rank : stuck;
  return { rank: culprit, step: sections[culprit]?.step ?? 0 };
}

function isEcho(fate: RankFate): boolean {
  return fate.error !== undefined && ECHO_CODES.has(fate.error.code);
}

function timeOf(fate: RankFate): number {
  return Math.min(fate.error?.time ?? Number.POSITIVE_INFINITY, fate.exit?.time ?? Number.POSITIVE_INFINITY);
}

function peacefulExitCode(state: RunState): number {
  const stopped = state.ranks.find(isStopped);
  if (stopped === undefined) return 0;
  return state.stopSignal === undefined ? (stopped.exit?.code ?? 1) : stopExitCode(state.stopSignal);
}

function describeFailure(state: RunState, rank: number, fate: RankFate, evidence: Evidence): ErrorEvent {
  const { error } = fate;
  if (error === undefined) return describeLoss(state, rank, fate, evidence);
  const place = placeOf(rank, evidence);
  if (error.exit_code === USER_ERROR) {
    if (nameOf(rank, evidence).host === undefined) return error;
    return {
      ...error,
      report: { ...error.report, where: withPlace(error.report.where, labelOf(rank, evidence), place) },
    };
  }
  const where = withPlace(error.report.where, labelOf(rank, evidence), place);
  const witnesses = isEcho(fate)
    ? { got: [error.report.got, ...everyPlace(state, evidence)].filter(Boolean).join('; ') }
    : {};
  return { ...error, report: { ...error.report, where, ...witnesses } };
}

/** Some errors know their rank and step themselves. */
function withPlace(where: string | undefined, label: string, place: string): string {
  if (where === undefined) return place;
  return where.includes(label) ? where : `${where} (${place})`;
}

function nameOf(index: number, { world }: Evidence): RankName {
  return world?.names[index] ?? { rank: index };
}

/** Such as "rank 3", "rank 3 on node-2". */
function labelOf(index: number, evidence: Evidence): string {
  const { rank, host } = nameOf(index, evidence);
  return host === undefined ? `rank ${rank}` : `rank ${rank} on ${host}`;
}

const USER_ERROR = 2;
const TRY_AGAIN = 75;

/** A rank that ended without a word. */
function describeLoss(state: RunState, rank: number, { exit }: RankFate, evidence: Evidence): ErrorEvent {
  const { code, signal, time } = exit ?? { code: null, signal: null, time: evidence.now };
  const name = nameOf(rank, evidence);
  const worldSize = evidence.world?.size ?? state.ranks.length;
  const at = name.host === undefined ? '' : ` on ${name.host}`;
  const who = worldSize === 1 ? 'The training process' : `Rank ${name.rank} of ${worldSize}${at}`;
  const how =
    signal === null ? `ended with exit code ${code}` : `was killed by ${signal}${meaningOf(signal)}`;
  const where = placeOf(rank, evidence);
  return {
    event: 'error',
    rank: name.rank,
    code: 'RANK_LOST',
    report: { what: `${who} ${how}.`, where, ...hintFor(signal, evidence, name) },
    exit_code: code === 1 || code === USER_ERROR ? code : TRY_AGAIN,
    time,
  };
}

function meaningOf(signal: NodeJS.Signals): string {
  const meanings: Readonly<Partial<Record<NodeJS.Signals, string>>> = {
    SIGSEGV: ' (a memory access that is not allowed)',
    SIGBUS: ' (memory that is not there: often a full /dev/shm)',
    SIGABRT: ' (it gave itself up: a failed assertion or no memory left)',
    SIGILL: ' (an instruction that this processor does not have)',
    SIGFPE: ' (an arithmetic fault)',
  };
  return meanings[signal] ?? '';
}

function hintFor(
  signal: NodeJS.Signals | null,
  evidence: Evidence,
  { host }: RankName,
): Pick<ErrorReport, 'got' | 'cure'> {
  if (signal === 'SIGKILL' && host !== undefined) {
    return { cure: `see on ${host} whether the kernel killed it for memory (\`dmesg\`), then start again` };
  }
  if (signal === 'SIGKILL' && evidence.isOutOfMemory) {
    return {
      got: 'out of memory: the kernel counted a process that it killed to free memory',
      cure: 'lower train_micro_batch_size_per_gpu or sequence_length, use fewer ranks, or shard with zero_optimization',
    };
  }
  if (signal === 'SIGKILL') {
    return {
      got: 'the out-of-memory counters that are visible here did not move: somebody or something sent it',
      cure: 'start again; if it repeats, look at the memory of the machine and the limits of the container',
    };
  }
  return { cure: 'its own last words, if it had any, are above; `trainyard doctor` checks the installation' };
}

function placeOf(rank: number, evidence: Evidence): string {
  const section = evidence.sections[rank];
  if (section === undefined) return `${labelOf(rank, evidence)}, before its first step`;
  return `${labelOf(rank, evidence)}, step ${section.step}, ${section.instruction}`;
}

function everyPlace(state: RunState, evidence: Evidence): readonly string[] {
  return state.ranks.map((_, rank) => {
    const section = evidence.sections[rank];
    const age = section === undefined ? '' : ` since ${seconds(evidence.now - section.since)}`;
    return `${placeOf(rank, evidence)}${age}`;
  });
}

/** Every rank finds the same mistake in a configuration: said once is enough. */
function describeConsequence(label: string, fate: RankFate, cause: ErrorEvent): readonly string[] {
  const { error, exit } = fate;
  if (error === undefined) return [`${label} then ended with ${exit?.signal ?? `exit code ${exit?.code}`}`];
  const isSame = error.code === cause.code && error.report.what === cause.report.what;
  return isSame ? [] : [`${label} then failed: ${error.code}: ${error.report.what}`];
}

function describeKilled(state: RunState, evidence: Evidence): readonly string[] {
  return state.ranks.flatMap((fate, rank) => {
    if (!fate.killed || fate.error !== undefined) return [];
    return [
      `${labelOf(rank, evidence)} did not leave when asked and was killed (${placeOf(rank, evidence)})`,
    ];
  });
}

function seconds(milliseconds: number): string {
  return `${(Math.max(0, milliseconds) / 1000).toFixed(1)} s`;
}
