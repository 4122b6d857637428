import type { FlightPlace } from './collective-recorder.js';
import { type FlightRecord, parseFlightRecord } from './flight-record.js';

/** How long the store may take to answer before it counts as gone: rank 0, which has it, may have stopped. */
const ANSWER_MS = 2000;

/** How long a store that did not answer is left alone: it may have been busy, or its rank been stopped for a while. */
const PAUSE_MS = 10_000;

/**
 * Writes one value into the store that the ranks share, and reads others once they are there, or after `longestMs`.
 *
 * @returns the values as far as they are there; nothing where the store took `answerMs` longer than that
 */
export type StoreExchange = (
  key: string,
  value: string,
  keys: readonly string[],
  longestMs: number,
  answerMs: number,
) => readonly (string | undefined)[] | undefined;

/** What the others have said so far. */
export interface Notices {
  /** Of ranks that have given up. */
  readonly failed: readonly FlightRecord[];
  /** Of ranks that wait, or waited: it may be from long ago. */
  readonly waiting: readonly FlightRecord[];
}

/** What a neighbour says of its collectives, as `FingerprintMarks.toText`. */
export interface Compared {
  readonly neighbour: number;
  readonly marks: string;
}

/**
 * Where ranks that wait for long, or give up, say what they know: in the store, which still works when the
 * connections between the ranks do not.
 */
export class NoticeBoard {
  readonly #exchangeWithStore: StoreExchange;
  readonly #place: FlightPlace;
  readonly #isHosted: boolean;
  /** When the store is asked again; nothing where it answered the last time. */
  #silentUntilMs: number | undefined;

  /** @param isHosted the launcher has the store, and not rank 0 */
  constructor(exchange: StoreExchange, place: FlightPlace, isHosted: boolean) {
    this.#isHosted = isHosted;
    this.#exchangeWithStore = exchange;
    this.#place = place;
  }

  /** Whether the store did not answer when it was asked last, nor rank 0 with it. */
  get lacksRankZero(): boolean {
    return this.#silentUntilMs !== undefined && !this.#isHosted;
  }

  /** Says that this rank waits; returns what is there at the moment. */
  wait(record: FlightRecord): Notices {
    return this.#exchange('waiting', record, 0);
  }

  /**
   * Says what this rank's collectives were so far, and returns what its neighbour has said of its own: where all agree
   * with their neighbours, all agree.
   */
  compare(marks: string): Compared | undefined {
    return this.#compare('marks', marks, 0);
  }

  /** The same at the end of all collectives: returns what the neighbour says at its own end, or nothing after some time. */
  compareAtEnd(marks: string, patienceMs: number): Compared | undefined {
    return this.#compare('all marks', marks, patienceMs);
  }

  /**
   * Says that this rank gives up; returns when all others have, or after some time. Asks the store in any case: what
   * it says now is what counts.
   */
  giveUp(record: FlightRecord, patienceMs: number): Notices {
    this.#silentUntilMs = undefined;
    return this.#exchange('failed', record, patienceMs);
  }

  /** Lets the rank that serves the store, and only that one, stay until the others have read. */
  leave(readers: readonly number[], patienceMs: number): void {
    const { rank } = this.#place;
    const awaited = rank === 0 ? readers.map((reader) => this.#key('read', reader)) : [];
    this.#ask(this.#key('read', rank), '1', awaited, rank === 0 ? patienceMs : 0);
  }

  #compare(kind: 'marks' | 'all marks', marks: string, longestMs: number): Compared | undefined {
    const { rank, worldSize } = this.#place;
    const neighbour = (rank + worldSize - 1) % worldSize;
    const [theirs] = this.#ask(this.#key(kind, rank), marks, [this.#key(kind, neighbour)], longestMs);
    return theirs === undefined ? undefined : { neighbour, marks: theirs };
  }

  #exchange(kind: 'waiting' | 'failed', record: FlightRecord, longestMs: number): Notices {
    const others = this.#others();
    const own = this.#key(kind, this.#place.rank);
    const wanted = (which: 'waiting' | 'failed') => others.map((rank) => this.#key(which, rank));
    const failed = this.#ask(own, JSON.stringify(record), wanted('failed'), longestMs);
    const waiting = this.#ask(this.#key('asked', this.#place.rank), '', wanted('waiting'), 0);
    return { failed: records(failed), waiting: records(waiting) };
  }

  #ask(
    key: string,
    value: string,
    keys: readonly string[],
    longestMs: number,
  ): readonly (string | undefined)[] {
    if (this.#silentUntilMs !== undefined && performance.now() < this.#silentUntilMs) return [];
    const values = this.#exchangeWithStore(key, value, keys, longestMs, ANSWER_MS);
    this.#silentUntilMs = values === undefined ? performance.now() + PAUSE_MS : undefined;
    return values ?? [];
  }

  #others(): readonly number[] {
    const { rank, worldSize } = this.#place;
    return Array.from({ length: worldSize }, (_, other) => other).filter((other) => other !== rank);
  }

  #key(kind: string, rank: number): string {
    return `${this.#place.run}/flight/${kind}/${rank}`;
  }
}

function records(texts: readonly (string | undefined)[]): readonly FlightRecord[] {
  return texts.flatMap((text) => {
    const record = text === undefined ? undefined : parseFlightRecord(text);
    return typeof record === 'object' ? [record] : [];
  });
}
