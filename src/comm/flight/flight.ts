import { TrainyardError } from '../../base/errors.js';
import { CollectiveRecorder, type FlightPlace } from './collective-recorder.js';
import { describeCulprit, describeRecord, describeSide, OTHER_OPERATION } from './describe-culprit.js';
import { type Culprit, findCulprit, findMismatch } from './find-culprit.js';
import { readFlightFolder, temporaryFlightFolder, writeFlightRecord } from './flight-folder.js';
import { type CollectiveEntry, describeEntry, type FlightRecord } from './flight-record.js';
import type { Compared, NoticeBoard, Notices } from './notice-board.js';

/** How many collectives a rank tells the others of. */
const TOLD = 32;

/**
 * How long a rank that gives up waits for what the others have to say: those that wait too look around more often, and
 * a supervisor that saw a rank die leaves the others longer than this.
 */
const PATIENCE_MS = 1500;

/** How often ranks compare what their collectives were. */
const COMPARED_EVERY_MS = 1000;

/**
 * A rank that has looked around does nothing of the kind for so many times as long as that took: where it takes long, over
 * a link that is full or among many ranks, what is waited for may have come meanwhile.
 */
const PAUSE_AFTER_LOOK = 20;

/** A rank that waits looks around so often all the same: it has nothing else to do. */
const LONGEST_PAUSE_MS = 10_000;

/** How long the rank with the store stays for those that read what is there. */
const FAREWELL_MS = 500;

/**
 * What a rank remembers of its collectives, and what it does when one takes long or fails: it asks the others, says
 * who or what the cause is, and leaves its record in a file.
 */
export class Flight {
  readonly recorder: CollectiveRecorder;
  /** Where the record goes. */
  readonly folder: string;
  readonly #place: FlightPlace;
  readonly #beganMs = Date.now();
  #board: NoticeBoard | undefined;
  #hasFailed = false;
  #nextCompareMs = performance.now() + COMPARED_EVERY_MS;
  #nextLookMs = 0;

  /** @param folder for the record; left out: one among the temporary files */
  constructor(place: FlightPlace, folder?: string) {
    this.recorder = new CollectiveRecorder(place);
    this.folder = folder ?? temporaryFlightFolder(place.run);
    this.#place = place;
  }

  /** From now on the others can be asked. */
  connect(board: NoticeBoard): void {
    this.#board = board;
  }

  /**
   * Called now and then during a long wait: tells the others of it.
   *
   * @returns why it is of no use to wait on, if so
   */
  look(): string | undefined {
    const beganMs = performance.now();
    if (this.#board === undefined || this.#hasFailed || beganMs < this.#nextLookMs) return undefined;
    const own = this.recorder.record('waiting', '', TOLD);
    const { failed, waiting } = this.#board.wait(own);
    this.#nextLookMs = Math.min(nextAfter(beganMs), performance.now() + LONGEST_PAUSE_MS);
    const mismatch = findMismatch([own, ...merged(failed, waiting)]);
    if (mismatch !== undefined) return `mismatch: ${mismatch.sides.map(describeSide).join('; ')}`;
    const [first] = [...failed].sort((left, right) => left.time - right.time);
    return first && `rank ${first.rank} gave up`;
  }

  /**
   * Called before collectives: compares now and then what this rank's were so far with those of others. Ones that move as
   * many bytes as those that they meet by mistake do not fail by themselves.
   *
   * @throws TrainyardError COLLECTIVE_FAILED
   */
  compare(): void {
    const now = performance.now();
    if (this.#board === undefined || this.#hasFailed || now < this.#nextCompareMs) return;
    const said = this.#board.compare(this.recorder.marks.toText());
    this.#nextCompareMs = Math.max(now + COMPARED_EVERY_MS, nextAfter(now));
    this.#demandSame(said);
  }

  /**
   * The same once more after the last collective, for those since the ranks compared before. They are about to part, and wait
   * for each other then in any case; a neighbour that does not come soon is left alone.
   *
   * @throws TrainyardError COLLECTIVE_FAILED
   */
  compareAtEnd(): void {
    if (this.#board === undefined || this.#hasFailed) return;
    try {
      this.#demandSame(this.#board.compareAtEnd(this.recorder.marks.toText(), PATIENCE_MS));
    } catch (error) {
      throw this.explain(error);
    }
  }

  #demandSame(said: Compared | undefined): void {
    const sequence = said && this.recorder.marks.differsFrom(said.marks);
    if (sequence === undefined) return;
    const { rank, worldSize } = this.#place;
    throw new TrainyardError('COLLECTIVE_FAILED', {
      what: `Results so far are wrong: ${OTHER_OPERATION}.`,
      where: `rank ${rank} of ${worldSize}`,
      got: `up to collective ${sequence}, this rank's were others than those of rank ${said?.neighbour}`,
      cure: 'let every rank do the same steps in the same order, and begin again from a checkpoint of before',
    });
  }

  /**
   * A collective failed, or showed that others were wrong: writes the record, asks the others, and makes an error that says what can be known.
   *
   * @returns the error itself where it is of another kind, or follows from one that was explained
   */
  explain(error: unknown, entry?: CollectiveEntry): unknown {
    if (!(error instanceof TrainyardError && error.code === 'COLLECTIVE_FAILED')) return error;
    if (this.#hasFailed) return error;
    const { what, where, got, cure } = error.report;
    const own = this.recorder.record('collective failed', what);
    const written = this.#write(own);
    const others = this.#tell(own, PATIENCE_MS);
    const culprit = this.#culprit([own, ...others]);
    const isSaid = culprit?.kind === 'mismatch' && what.includes(OTHER_OPERATION);
    return new TrainyardError(
      'COLLECTIVE_FAILED',
      {
        what: culprit === undefined || isSaid ? what : `${what} ${describeCulprit(culprit)}`,
        where: [where, entry && describeEntry(entry)].filter(Boolean).join(', '),
        got: isSaid
          ? culprit.sides.map(describeSide).join('; ')
          : [got, ...others.map(describeRecord)].filter(Boolean).join('; '),
        cure: [cure, written].filter(Boolean).join('; '),
      },
      { cause: error },
    );
  }

  /** Something else failed on this rank: its record is written, and the others need not wait for it. */
  fail(reason: string): void {
    if (this.#hasFailed) return;
    const own = this.recorder.record('failed', reason);
    this.#write(own);
    // Rank 0 takes the store with it: it stays until the others know.
    this.#tell(own, this.#place.rank === 0 ? PATIENCE_MS : 0);
  }

  /** @returns what a person is to be told of it */
  #write(own: FlightRecord): string {
    this.#hasFailed = true;
    try {
      writeFlightRecord(this.folder, own);
      return `\`trainyard doctor --flight ${this.folder}\` tells more`;
    } catch (error) {
      return `no flight record was written: ${error instanceof Error ? error.message : String(error)}`;
    }
  }

  /** @returns the last that is known of each other rank */
  #tell(own: FlightRecord, patienceMs: number): readonly FlightRecord[] {
    const told = own.collectives.slice(-TOLD);
    const { failed, waiting } = this.#board?.giveUp({ ...own, collectives: told }, patienceMs) ?? NOTHING;
    this.#board?.leave(
      failed.map(({ rank }) => rank),
      FAREWELL_MS,
    );
    return merged([...failed, ...this.#written()], waiting).filter(({ rank }) => rank !== own.rank);
  }

  /** Ranks of this host that left before this one came have told nobody else. */
  #written(): readonly FlightRecord[] {
    try {
      const { records } = readFlightFolder(this.folder);
      return records.filter(({ run, time }) => run === this.#place.run && time >= this.#beganMs);
    } catch {
      return [];
    }
  }

  #culprit(records: readonly FlightRecord[]): Culprit | undefined {
    const { worldSize } = this.#place;
    const found = findCulprit(records, worldSize);
    // The store is a part of rank 0: without it the others cannot be heard, whatever they do.
    const isCutOff =
      found?.kind === 'silent' && found.ranks.includes(0) && this.#board?.lacksRankZero === true;
    return isCutOff ? { ...found, ranks: [0], hasStore: true } : found;
  }
}

const NOTHING: Notices = { failed: [], waiting: [] };

/** One record for each rank, from the first list that has one. */
function merged(...lists: readonly (readonly FlightRecord[])[]): readonly FlightRecord[] {
  const byRank = new Map<number, FlightRecord>();
  for (const record of lists.flat()) if (!byRank.has(record.rank)) byRank.set(record.rank, record);
  return [...byRank.values()].sort((left, right) => left.rank - right.rank);
}

/** When a rank may look around again that began to do so then. */
function nextAfter(beganMs: number): number {
  const endedMs = performance.now();
  return endedMs + PAUSE_AFTER_LOOK * (endedMs - beganMs);
}
