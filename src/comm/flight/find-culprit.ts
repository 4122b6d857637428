import { type CollectiveEntry, type FlightRecord, fingerprintOf, seriesOf, WORLD } from './flight-record.js';

/** Ranks that say the same of a collective. */
export interface Side {
  readonly ranks: readonly number[];
  readonly collective: CollectiveEntry;
}

/** What the records of a run's ranks show to be the cause of its end. */
export type Culprit =
  /** A rank failed by itself. */
  | { readonly kind: 'failed'; readonly ranks: readonly [number]; readonly reason: string }
  /** Ranks did different things as their how manieth collective; `ranks` are the fewer, or all where none are. */
  | {
      readonly kind: 'mismatch';
      readonly ranks: readonly number[];
      readonly sequence: number;
      readonly sides: readonly Side[];
    }
  /** Ranks left no word, or none can be heard, since that one left none which has the store. */
  | {
      readonly kind: 'silent';
      readonly ranks: readonly number[];
      readonly awaited?: CollectiveEntry;
      readonly hasStore?: boolean;
    }
  /** Ranks did not come to a collective that others are in; `silentSeconds` before that they were heard of last. */
  | {
      readonly kind: 'behind';
      readonly ranks: readonly number[];
      readonly awaited: CollectiveEntry;
      readonly silentSeconds?: number;
    }
  /** All came, but one so much later. */
  | {
      readonly kind: 'late';
      readonly ranks: readonly [number];
      readonly collective: CollectiveEntry;
      readonly seconds: number;
    };

/**
 * Finds who or what ended a run. In this order: a rank that failed by itself; the first collective of which ranks say
 * different things; ranks without a record; ranks that did not come to the collective that others are in; and the
 * one that came last to the last collective of all.
 *
 * @param records of different ranks of one run
 * @returns nothing where the records show nothing
 */
export function findCulprit(records: readonly FlightRecord[], worldSize: number): Culprit | undefined {
  return (
    findFailed(records) ??
    findMismatch(records) ??
    findSilent(records, worldSize) ??
    findBehind(records) ??
    findLate(records)
  );
}

function findFailed(records: readonly FlightRecord[]): Culprit | undefined {
  const [first] = records
    .filter(({ state }) => state === 'failed')
    .sort((left, right) => left.time - right.time);
  return first && { kind: 'failed', ranks: [first.rank], reason: first.reason };
}

/** The first collective, by its number in its series, of which two ranks say different things. */
export function findMismatch(
  records: readonly FlightRecord[],
): Extract<Culprit, { kind: 'mismatch' }> | undefined {
  const found = new Map<string, { readonly sequence: number; readonly sides: Map<string, Side> }>();
  const inOrder = [...records].sort((left, right) => left.rank - right.rank);
  for (const { rank, collectives } of inOrder) {
    for (const collective of collectives) {
      if (collective.sequence === null) continue;
      const { sequence } = collective;
      const key = `${seriesOf(collective)} ${sequence}`;
      const { sides } = found.get(key) ?? { sides: new Map<string, Side>() };
      const fingerprint = fingerprintOf(collective);
      const ranks = [...(sides.get(fingerprint)?.ranks ?? []), rank];
      sides.set(fingerprint, { ranks, collective: sides.get(fingerprint)?.collective ?? collective });
      found.set(key, { sequence, sides });
    }
  }
  const [first] = [...found.values()]
    .filter(({ sides }) => sides.size > 1)
    .sort((left, right) => left.sequence - right.sequence);
  if (first === undefined) return undefined;
  const sides = [...first.sides.values()].sort((left, right) => right.ranks.length - left.ranks.length);
  const most = sides[0]?.ranks.length ?? 0;
  const fewer = sides.filter(({ ranks }) => ranks.length < most);
  const isClear = fewer.length === sides.length - 1;
  const ranks = (isClear ? fewer : sides).flatMap((side) => side.ranks);
  return { kind: 'mismatch', ranks: ranks.sort(byNumber), sequence: first.sequence, sides };
}

function findSilent(records: readonly FlightRecord[], worldSize: number): Culprit | undefined {
  const heard = new Set(records.map(({ rank }) => rank));
  const ranks = Array.from({ length: worldSize }, (_, rank) => rank).filter((rank) => !heard.has(rank));
  if (ranks.length === 0) return undefined;
  const awaited = records.flatMap(({ collectives }) => collectives).filter(({ ended }) => ended === null)[0];
  return { kind: 'silent', ranks, ...(awaited && { awaited }) };
}

/** In the groups of some ranks first: those wait for one of them, and all others for these. */
function findBehind(records: readonly FlightRecord[]): Culprit | undefined {
  const all = new Set(
    records
      .flatMap(({ collectives }) => collectives)
      .filter(isCounted)
      .map(seriesOf),
  );
  const series = [...all].filter((each) => each !== WORLD);
  for (const each of [...series, WORLD]) {
    const found = findBehindIn(records.flatMap((record) => only(record, each)));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** What a record says of one series, if it does; of that of all ranks it always says something. */
function only(record: FlightRecord, series: string): readonly FlightRecord[] {
  const collectives = record.collectives.filter((each) => isCounted(each) && seriesOf(each) === series);
  return collectives.length > 0 || series === WORLD ? [{ ...record, collectives }] : [];
}

function isCounted({ sequence }: CollectiveEntry): boolean {
  return sequence !== null;
}

function findBehindIn(records: readonly FlightRecord[]): Culprit | undefined {
  const least = Math.min(...records.map(lastSequence));
  // The next one as a rule; where records no longer reach back so far, the first that they tell of.
  const later = records
    .flatMap(({ collectives }) => collectives)
    .filter(({ sequence }) => sequence !== null && sequence > least)
    .sort((left, right) => (left.sequence ?? 0) - (right.sequence ?? 0));
  const [awaited] = later;
  if (awaited === undefined) return undefined;
  const behind = records.filter((record) => lastSequence(record) === least);
  const ranks = behind.map(({ rank }) => rank).sort(byNumber);
  // A rank that waited once, long ago, has come further since, but none of its words has.
  const open = later.find(({ ended }) => ended === null);
  const heardMs = Math.max(...behind.map(({ time }) => time));
  return open !== undefined && behind.every(({ state }) => state === 'waiting') && heardMs < open.started
    ? { kind: 'behind', ranks, awaited: open, silentSeconds: (open.started - heardMs) / 1000 }
    : { kind: 'behind', ranks, awaited };
}

/** Clocks of several hosts differ, by milliseconds where they are kept: shorter delays say nothing. */
const LEAST_DELAY_MS = 100;

function findLate(all: readonly FlightRecord[]): Culprit | undefined {
  const records = all.flatMap((record) => only(record, WORLD));
  const arrivals = records.flatMap((record) => {
    const collective = record.collectives.find(({ sequence }) => sequence === lastSequence(record));
    return collective === undefined ? [] : [{ rank: record.rank, collective }];
  });
  const [first, ...others] = arrivals.sort(
    (left, right) => left.collective.started - right.collective.started,
  );
  const last = others.at(-1);
  if (first === undefined || last === undefined) return undefined;
  const delayMs = last.collective.started - first.collective.started;
  if (delayMs < LEAST_DELAY_MS) return undefined;
  return { kind: 'late', ranks: [last.rank], collective: last.collective, seconds: delayMs / 1000 };
}

/** The number of the last collective that the rank started; 0 when it started none. */
function lastSequence({ collectives }: FlightRecord): number {
  return Math.max(0, ...collectives.map(({ sequence }) => sequence ?? 0));
}

function byNumber(left: number, right: number): number {
  return left - right;
}
