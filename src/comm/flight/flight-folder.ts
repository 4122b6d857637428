import { createHash } from 'node:crypto';
import {
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type FlightRecord, parseFlightRecord } from './flight-record.js';

/** What a folder holds. */
export interface FlightFiles {
  readonly records: readonly FlightRecord[];
  /** Files that should be records and are not, and why. */
  readonly refused: readonly { readonly file: string; readonly reason: string }[];
}

/** Where records go that have no output folder to go to: the same place for all ranks of one host. */
export function temporaryFlightFolder(run: string): string {
  const name = createHash('sha256').update(run).digest('hex').slice(0, 16);
  return join(tmpdir(), `trainyard-flight-${name}`);
}

/**
 * Writes `rank-N.json`, whole or not at all.
 *
 * @throws what the file system says; and where the folder is no folder, or of another user
 */
export function writeFlightRecord(folder: string, record: FlightRecord): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const { uid } = process.getuid === undefined ? { uid: undefined } : { uid: process.getuid() };
  const found = lstatSync(folder);
  if (!found.isDirectory()) throw new Error(`${folder} is no folder`);
  if (uid !== undefined && found.uid !== uid) throw new Error(`${folder} belongs to another user`);
  const path = join(folder, `rank-${record.rank}.json`);
  const unfinished = `${path}.${process.pid}.tmp`;
  try {
    // Exclusively: a link that somebody left under this name is not followed.
    writeFileSync(unfinished, `${JSON.stringify(record)}\n`, { flag: 'wx', mode: 0o600 });
    renameSync(unfinished, path);
  } catch (error) {
    rmSync(unfinished, { force: true });
    throw error;
  }
}

const RECORD_NAME = /^rank-(0|[1-9]\d{0,6})\.json$/;

/** A thousand collectives take less than half of this. */
const MOST_BYTES = 4 << 20;

/**
 * Reads all records of a folder; what is no record is told.
 *
 * @throws what the file system says of the folder itself
 */
export function readFlightFolder(folder: string): FlightFiles {
  const records: FlightRecord[] = [];
  const refused: { file: string; reason: string }[] = [];
  for (const file of readdirSync(folder).filter((name) => RECORD_NAME.test(name))) {
    const record = readFlightFile(join(folder, file));
    if (typeof record === 'string') refused.push({ file, reason: record });
    else if (file === `rank-${record.rank}.json`) records.push(record);
    else refused.push({ file, reason: `it is the record of rank ${record.rank}` });
  }
  return { records: records.sort((left, right) => left.rank - right.rank), refused };
}

function readFlightFile(path: string): FlightRecord | string {
  try {
    // Neither a pipe, on which a reader would wait, nor a link to who knows where.
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    try {
      const found = fstatSync(descriptor);
      if (!found.isFile()) return 'it is no regular file';
      if (found.size > MOST_BYTES) return `it has ${found.size} bytes; the most is ${MOST_BYTES}`;
      return parseFlightRecord(readFileSync(descriptor, 'utf8'));
    } finally {
      closeSync(descriptor);
    }
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
