/** The signals that ask a run to save and leave. */
export type StopSignal = 'SIGINT' | 'SIGTERM' | 'SIGHUP';

/** What a person at a terminal, Kubernetes or Slurm, and a terminal that closes send. */
export const STOP_SIGNALS: readonly StopSignal[] = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Ctrl-C under `npm start` arrives twice, from the terminal and from npm, some milliseconds apart; a person
 * who presses twice takes longer.
 */
const ECHO_MS = 300;

/** The exit code of a run that stopped because it was asked to: 143 for SIGTERM, 130 for Ctrl-C. */
export function stopExitCode(signal: StopSignal): number {
  switch (signal) {
    case 'SIGINT':
      return 130;
    case 'SIGTERM':
    case 'SIGHUP':
      return 143;
    default:
      return signal satisfies never;
  }
}

/** What to do when a stop signal comes. */
export interface StopHandlers {
  /** The first one: save and leave. */
  first(signal: StopSignal): void;
  /** Another one: leave now. */
  again(signal: StopSignal): void;
}

/** Takes the stop signals over; returns the function that gives them back. */
export function onStopSignals(handlers: StopHandlers): () => void {
  let firstTime: number | undefined;
  const listener = (signal: StopSignal): void => {
    const now = performance.now();
    if (firstTime === undefined) {
      firstTime = now;
      handlers.first(signal);
    } else if (now - firstTime > ECHO_MS) {
      handlers.again(signal);
    }
  };
  for (const signal of STOP_SIGNALS) process.on(signal, listener);
  return () => {
    for (const signal of STOP_SIGNALS) process.off(signal, listener);
  };
}
