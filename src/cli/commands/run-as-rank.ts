import type { RankEnvironment } from '../../launch/environment.js';
import type { EventSink } from '../../launch/events.js';
import { HEARTBEAT } from '../../launch/flight-record.js';
import { runRank } from '../../launch/rank.js';
import { RANK_DESCRIPTORS } from '../../launch/rank-channel.js';

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
      const { dieWithParent, leaveProcess, startHeartbeat } = await import('../../tensor/process.js');
      leave = leaveProcess;
      if (environment.source === 'launcher') {
        dieWithParent();
        startHeartbeat(RANK_DESCRIPTORS.record, HEARTBEAT.byteOffset, HEARTBEAT.intervalMs);
      }
      await work(signal);
    },
    leave: (exitCode) => leave(exitCode),
  });
}
