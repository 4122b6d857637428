import { fileURLToPath } from 'node:url';
import { env } from '../../base/env.js';
import type { Host } from '../../launch/hostfile.js';
import { type MeetingPlace, superviseHosts } from '../../launch/hosts/supervise-hosts.js';
import type { HostPlace } from '../../launch/rank-variables.js';
import { type ObservedEvent, type RunObserver, supervise } from '../../launch/supervisor.js';
import { threadBudget } from '../../launch/threads.js';
import type { Verdict } from '../../launch/verdict.js';
import type { Display } from '../progress/display.js';
import { version } from '../version.js';

/**
 * Ranks not on this host alone: on hosts that this process starts them on, or, where every host has its supervisor, those
 * of this one.
 */
export type OtherHosts =
  | { readonly kind: 'over-ssh'; readonly hosts: readonly Host[]; readonly meeting: MeetingPlace }
  | { readonly kind: 'own-part'; readonly ranks: number; readonly place: HostPlace };

/** A command of this program, to be run by several ranks. */
export interface SupervisedRanks {
  /** The command and its arguments; the environment of each process says which rank it is. */
  readonly command: readonly string[];
  /** On all hosts. */
  readonly ranks: number;
  readonly otherHosts?: OtherHosts | undefined;
  readonly display: Display;
  /** What the environment of its ranks has beside this one's; left out: nothing. Not for ranks on other hosts. */
  readonly variables?: Readonly<Record<string, string>>;
  /** How long a rank may stay at one instruction before it counts as hung; left out: for ever. */
  readonly hangMs?: number | undefined;
  /** Whether ranks that are asked to stop save what they have. */
  readonly saves?: boolean;
  /** Told of every event but messages, which go to the display. */
  onEvent(event: Exclude<ObservedEvent, { event: 'log' }>): void;
}

/**
 * Runs a command in a process per rank, one rank included, so that no crash goes unexplained. What happens is
 * shown; returns the exit code.
 */
export async function superviseRanks(supervised: SupervisedRanks): Promise<number> {
  return showVerdict(supervised.display, await attemptRanks(supervised));
}

/** The same, to its end but without its last words: whoever calls may have the ranks try again. */
export async function attemptRanks(supervised: SupervisedRanks): Promise<Verdict> {
  const { ranks, display, saves = false, onEvent } = supervised;
  try {
    return await runRanks(supervised, {
      event: (event, rank) => (event.event === 'log' ? display.log(event, rank) : onEvent(event)),
      output: (rank, lines) => display.output(rank, lines),
      stopping: (signal) => announceStop(display, signal, saves),
      failing: () => {
        if (ranks > 1) display.notice('a rank failed; stopping the others');
      },
      stalled: (rank, { step, instruction }, seconds) =>
        display.notice(`rank ${rank} has been at step ${step}, ${instruction} for ${seconds} s`),
    });
  } catch (error) {
    display.close();
    throw error;
  }
}

/** Ends a display with what became of the ranks; returns the exit code. */
export function showVerdict(display: Display, { cause, consequences, exitCode }: Verdict): number {
  display.close();
  if (cause !== undefined) display.failure(cause);
  for (const consequence of consequences) display.notice(consequence);
  return exitCode;
}

function runRanks(
  { command, ranks, otherHosts, variables, hangMs, display }: SupervisedRanks,
  observer: RunObserver,
): Promise<Verdict> {
  const main = mainProgram();
  if (otherHosts?.kind === 'over-ssh') {
    return superviseHosts({
      ...otherHosts,
      agent: [process.execPath, main, 'host-agent'],
      arguments: command,
      folder: process.cwd(),
      variables: env.variables,
      version: version(),
      connected: (summary) => display.notice(summary),
      hangMs,
      observer,
    });
  }
  const local = otherHosts?.ranks ?? ranks;
  display.notice(threadBudget(local, env.variables).summary);
  return supervise({
    command: { executable: process.execPath, arguments: [...process.execArgv, main, ...command] },
    ranks: local,
    variables: { ...env.variables, ...variables },
    place: otherHosts?.place,
    hangMs,
    observer,
  });
}

/** The file that Node.js runs for a command. */
export function mainProgram(): string {
  return fileURLToPath(new URL('../main.js', import.meta.url));
}

function announceStop(display: Display, signal: string, saves: boolean): void {
  const doing = saves ? 'finishing the step and saving' : 'finishing the step; nothing is saved';
  display.stopping();
  display.notice(signal === 'SIGINT' ? `${doing}; press Ctrl-C again to leave now` : `${signal}: ${doing}`);
}
