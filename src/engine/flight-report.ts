import { TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';
import { describeCulprit, describeRecord } from '../comm/flight/describe-culprit.js';
import { type Culprit, findCulprit } from '../comm/flight/find-culprit.js';
import { type FlightFiles, readFlightFolder } from '../comm/flight/flight-folder.js';
import type { FlightRecord } from '../comm/flight/flight-record.js';

/** What the records of a failed run show. */
export interface FlightReport {
  readonly run: string;
  readonly world_size: number;
  /** Absent where they show nothing. */
  readonly culprit?: Culprit;
  /** The same in a sentence. */
  readonly verdict: string;
  readonly ranks: readonly { readonly rank: number; readonly doing: string; readonly collectives: number }[];
  /** Files that are no records, or those of other runs, and why they do not count. */
  readonly ignored: FlightFiles['refused'];
}

/**
 * Reads what the ranks of a run left in a folder, and names the one that ended it. Where there are several runs, it
 * is the newest.
 *
 * @throws TrainyardError FLIGHT_UNREADABLE
 */
export function reportFlight(folder: string): FlightReport {
  const { records, refused } = readFiles(folder);
  const [newest] = [...records].sort((left, right) => right.time - left.time);
  if (newest === undefined) throw withoutRecords(folder, refused);
  const { run, world_size: worldSize } = newest;
  const isOfRun = (record: FlightRecord): boolean => record.run === run && record.world_size === worldSize;
  const ours = records.filter(isOfRun);
  const others = records.filter((record) => !isOfRun(record));
  const culprit = findCulprit(ours, worldSize);
  return {
    run,
    world_size: worldSize,
    ...(culprit && { culprit }),
    verdict:
      culprit === undefined
        ? 'All ranks came to the same collective at the same time: the records do not tell why it failed.'
        : describeCulprit(culprit),
    ranks: ours.map((record) => ({
      rank: record.rank,
      doing: describeRecord(record),
      collectives: record.collectives.length,
    })),
    ignored: [
      ...refused,
      ...others.map(({ rank }) => ({ file: `rank-${rank}.json`, reason: 'it is of an older run' })),
    ],
  };
}

function readFiles(folder: string): FlightFiles {
  try {
    return readFlightFolder(folder);
  } catch (error) {
    throw new TrainyardError('FLIGHT_UNREADABLE', {
      what: 'The folder of flight records cannot be read.',
      where: folder,
      got: error instanceof Error ? error.message : String(error),
      cure: 'give the folder that the message of the failed run names',
    });
  }
}

function withoutRecords(folder: string, refused: FlightFiles['refused']): TrainyardError {
  return new TrainyardError('FLIGHT_UNREADABLE', {
    what: 'There is no flight record in this folder.',
    where: folder,
    expected: 'rank-0.json and so on, as ranks write them when a collective fails',
    ...(refused.length > 0 && {
      got: refused.map(({ file, reason }) => `${quote(file)}: ${reason}`).join('; '),
    }),
    cure: 'give the folder that the message of the failed run names',
  });
}
