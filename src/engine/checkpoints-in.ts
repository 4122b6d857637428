import { join } from 'node:path';

/** Where a run keeps its checkpoints, inside its output folder. */
export function checkpointsIn(output: string): string {
  return join(output, 'checkpoints');
}
