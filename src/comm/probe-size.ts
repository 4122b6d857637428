/** A message that was sent to see how long it takes. */
export interface Probe {
  readonly bytes: number;
  /** On the slowest rank. */
  readonly seconds: number;
}

export interface ProbeLimits {
  /** The first message after the one that shows what no bytes take, and the largest, in bytes. */
  readonly least: number;
  readonly most: number;
  /** In seconds: what bytes take that take so long, noise hardly changes. */
  readonly telling: number;
  /** In seconds: what there is left to measure in. */
  readonly left: number;
}

/** By how much a message grows at most, and where four times as much might take longer than is needed. */
const QUICK_GROWTH = 4;
const GROWTH = 2;

/** A link says the same twice, within so many times; what else a machine does, which must not look like a slow link, does not. */
const AGREEING = 1.25;

/**
 * The size of the next message by which the bandwidth of a link is measured: it grows until its bytes take a time that tells
 * something, so far as there is time, and is sent again until it took as long twice. A slow link is measured by short messages, and a fast one by long ones. Ranks that
 * have agreed on the probes and the time that is left go on in the same way.
 *
 * @param tried in order; the first has next to no bytes
 * @returns bytes; undefined when the last message is the one to go by
 */
export function nextProbe(tried: readonly Probe[], limits: ProbeLimits): number | undefined {
  const { least, most, telling, left } = limits;
  const last = tried.at(-1)?.bytes ?? 0;
  if (last < least) return least;
  // Noise only adds: nothing can take less than the shortest did, however many bytes that had.
  const shortest = Math.min(...tried.map(({ seconds }) => seconds));
  const trials = tried.filter(({ bytes }) => bytes === last).map(({ seconds }) => seconds);
  const [took = 0, again = Number.POSITIVE_INFINITY] = trials.sort((left, right) => left - right);
  const ofBytes = took - shortest;
  if (ofBytes >= telling) return again > AGREEING * took && took <= left ? last : undefined;
  if (last >= most) return undefined;
  const next = Math.min(most, last * (QUICK_GROWTH * ofBytes <= telling ? QUICK_GROWTH : GROWTH));
  return shortest + (next / last) * ofBytes <= left ? next : undefined;
}
