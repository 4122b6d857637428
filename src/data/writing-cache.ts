import { reportingWriteErrors } from '../store/durable.js';

/**
 * Runs a write to the token cache and reports a failing system call as an error of ours.
 *
 * @throws TrainyardError OUTPUT_UNWRITABLE naming the way to another cache
 */
export function writingCache<Result>(path: string, write: () => Result): Result {
  return reportingWriteErrors('The token cache', path, write, CURE);
}

const CURE =
  'Set TRAINYARD_CACHE to a folder that can be written and has room, or make room or give permission there.';
