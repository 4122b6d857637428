import type { NativeObject } from '../../native/binding.js';
import { native } from '../../native/native.js';
import type { FlightPlace } from './collective-recorder.js';
import { type FlightRecord, parseFlightRecord } from './flight-record.js';

/** How long the store may take to answer before it counts as gone: rank 0, which has it, may have stopped. */
const ANSWER_MS = 2000;

/** What the others have said so far. */
export interface Notices {
  /** Of ranks that have given up. */
  readonly failed: readonly FlightRecord[];
  /** Of ranks that wait, or waited: it may be from long ago. */
  readonly waiting: readonly FlightRecord[];
}

/**
 * Where ranks that wait for long, or give up, say what they know: in the store, which still works when the
 * connections between the ranks do not.
 */
export class NoticeBoard {
  readonly #store: NativeObject;
  readonly #place: FlightPlace;
  readonly #isHosted: boolean;
  #isSilent = false;

  /** @param isHosted the launcher has the store, and not rank 0 */
  constructor(store: NativeObject, place: FlightPlace, isHosted: boolean) {
    this.#isHosted = isHosted;
    this.#store = store;
    this.#place = place;
  }

  /** Whether the store has ceased to answer, and rank 0 with it. */
  get lacksRankZero(): boolean {
    return this.#isSilent && !this.#isHosted;
  }

  /** Says that this rank waits; returns what is there at the moment. */
  wait(record: FlightRecord): Notices {
    return this.#exchange('waiting', record, 0);
  }

  /**
   * Says what this rank's collectives were so far, and returns what its neighbour has said of its own: where all agree
   * with their neighbours, all agree.
   */
  compare(marks: string): { readonly neighbour: number; readonly marks: string } | undefined {
    const { rank, worldSize } = this.#place;
    const neighbour = (rank + worldSize - 1) % worldSize;
    const [theirs] = this.#ask(this.#key('marks', rank), marks, [this.#key('marks', neighbour)], 0);
    return theirs === undefined ? undefined : { neighbour, marks: theirs };
  }

  /** Says that this rank gives up; returns when all others have, or after some time. */
  giveUp(record: FlightRecord, patienceMs: number): Notices {
    return this.#exchange('failed', record, patienceMs);
  }

  /** Lets the rank that serves the store, and only that one, stay until the others have read. */
  leave(readers: readonly number[], patienceMs: number): void {
    const { rank } = this.#place;
    const awaited = rank === 0 ? readers.map((reader) => this.#key('read', reader)) : [];
    this.#ask(this.#key('read', rank), '1', awaited, rank === 0 ? patienceMs : 0);
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
    if (this.#isSilent) return [];
    const values = native.storeExchange(this.#store, key, value, keys, longestMs, ANSWER_MS);
    this.#isSilent = values === undefined;
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
