/**
 * The thread that a rank runs beside its work: it holds one end of a pipe whose other end only the
 * supervisor has. When the supervisor is gone, however it went, the pipe ends and so does the rank, with
 * every process that it started.
 */
import { Socket } from 'node:net';
import { workerData } from 'node:worker_threads';

const lifeline = new Socket({ fd: Number(workerData), readable: true, writable: false });
lifeline.on('error', () => undefined);
lifeline.on('close', endProcessGroup);
lifeline.resume();

function endProcessGroup(): void {
  for (const target of [-process.pid, process.pid]) {
    try {
      process.kill(target, 'SIGKILL');
    } catch {
      // Not the leader of a group: the process itself comes next.
    }
  }
}
