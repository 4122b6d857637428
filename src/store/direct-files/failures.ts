import { getSystemErrorName } from 'node:util';
import { TrainyardError } from '../../base/errors.js';
import { describeErrorCode } from '../open-file.js';

/** A folder cannot be used for offloaded memory. */
export function unusableFolder(
  path: string,
  setting: string,
  got: string,
  expected = 'a folder that is there and that this process may write',
): TrainyardError {
  return new TrainyardError('OFFLOAD_UNUSABLE', {
    what: `The folder ${path} cannot be used for offloaded memory.`,
    where: setting,
    expected,
    got,
    cure: 'Make room or give permission there, or name another folder.',
  });
}

/** What a transfer was about. */
export interface TransferPlace {
  readonly writes: boolean;
  /** The folder and what the file holds. */
  readonly file: string;
  readonly bytes: number;
  readonly offset: number;
}

/** A read or write failed while training. */
export function transferFailed(error: number, failedAt: number, place: TransferPlace): TrainyardError {
  const { writes, file, bytes, offset } = place;
  return new TrainyardError('OFFLOAD_FAILED', {
    what: `${writes ? 'Writing' : 'Reading'} offloaded memory failed.`,
    where: file,
    expected: `${bytes} bytes ${writes ? 'written to' : 'read from'} offset ${offset}`,
    got: `${describeErrorNumber(error)}, at offset ${failedAt}`,
    cure: `${cureOf(error)} Then start again from the last checkpoint: nothing wrong was used.`,
  });
}

/** The words for an error number of the system's. */
export function describeErrorNumber(error: number): string {
  return describeErrorCode(getSystemErrorName(-error));
}

function cureOf(error: number): string {
  const code = getSystemErrorName(-error);
  if (code === 'ENOSPC' || code === 'EDQUOT') return 'Make room on that disk, or name a folder on another.';
  return "See the system's log (dmesg) for that disk, and name a folder on another where it is broken.";
}
