import { FingerprintMarks } from './fingerprint-marks.js';
import { type CollectiveEntry, type FlightRecord, seriesOf } from './flight-record.js';
import { Ring } from './ring.js';

/** How many collectives a rank remembers. */
const REMEMBERED = 1000;

/** Which rank of which run it is. */
export interface FlightPlace {
  readonly run: string;
  readonly rank: number;
  readonly worldSize: number;
}

/** What is known of a collective when it starts. */
export type CollectiveCall = Pick<CollectiveEntry, 'operation' | 'group' | 'dtype' | 'elements'> & {
  /** How it is counted: among the collectives of all ranks, or of its group; a message between two ranks is not. */
  readonly counted: 'by all' | 'by its group' | 'not';
};

/** An entry that is still written. */
export type OpenEntry = { -readonly [Field in keyof CollectiveEntry]: CollectiveEntry[Field] };

/** Counts the collectives of a rank, remembers the last ones, and what time they cost it. It takes microseconds for each. */
export class CollectiveRecorder {
  /** What the collectives so far were, to be compared with the other ranks'. */
  readonly marks = new FingerprintMarks();
  readonly #place: FlightPlace;
  readonly #ring = new Ring<OpenEntry>(REMEMBERED);
  /** How many there were so far, by what they are counted among. */
  readonly #counts = new Map<string, number>();
  #instruction = '';
  #exposedMs = 0;

  constructor(place: FlightPlace) {
    this.#place = place;
  }

  get instruction(): string {
    return this.#instruction;
  }

  /** How long this rank has stood still so far, starting collectives and messages and waiting for them. */
  get exposedMs(): number {
    return this.#exposedMs;
  }

  /** Runs a part of a collective that the rank does nothing else beside. */
  exposed<Result>(body: () => Result): Result {
    const startedMs = performance.now();
    try {
      return body();
    } finally {
      this.#exposedMs += performance.now() - startedMs;
    }
  }

  /** Says what the rank does from now on: what starts a collective is a part of its fingerprint. */
  enter(instruction: string): void {
    this.#instruction = instruction;
  }

  start({ counted, operation, group, dtype, elements }: CollectiveCall): OpenEntry {
    const entry: OpenEntry = {
      sequence: counted === 'not' ? null : this.#next(seriesOf({ group })),
      operation,
      group,
      dtype,
      elements,
      instruction: this.#instruction,
      started: Date.now(),
      wait_began: null,
      ended: null,
    };
    this.#ring.push(entry);
    if (counted === 'by all') this.marks.add(entry);
    return entry;
  }

  #next(series: string): number {
    const sequence = (this.#counts.get(series) ?? 0) + 1;
    this.#counts.set(series, sequence);
    return sequence;
  }

  /** @param most how many collectives it tells of */
  record(state: FlightRecord['state'], reason: string, most?: number): FlightRecord {
    const { run, rank, worldSize } = this.#place;
    return {
      format: 'trainyard-flight-1',
      run,
      rank,
      world_size: worldSize,
      time: Date.now(),
      state,
      reason: reason.slice(0, 5000),
      instruction: this.#instruction.slice(0, 500),
      collectives: this.#ring.toArray(most).map((entry) => ({ ...entry })),
    };
  }
}
