import type { RankEnvironment } from '../../launch/environment.js';
import type { EventSink } from '../../launch/events.js';
import { runRank } from '../../launch/rank.js';

/** Does a rank's work in the frame that tells the supervisor of its end, and leaves the process. */
export function runAsRank(
  environment: RankEnvironment,
  sink: EventSink,
  work: (signal: AbortSignal) => Promise<void>,
): Promise<never> {
  let leave = (exitCode: number): never => process.exit(exitCode);
  return runRank({
    environment,
    sink,
    run: async (signal) => {
      // libtorch is loaded here, after the supervisor can be told that it cannot be.
      const { dieWithParent, leaveProcess } = await import('../../tensor/process.js');
      leave = leaveProcess;
      if (environment.source === 'launcher') dieWithParent();
      await work(signal);
    },
    leave: (exitCode) => leave(exitCode),
  });
}
