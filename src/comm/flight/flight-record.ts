import { z } from 'zod';

/** One collective or message of a rank, with times in milliseconds since the epoch. */
const entrySchema = z.strictObject({
  /** The how manieth collective of its series (`seriesOf`); null for a message between two ranks, which only those two count. */
  sequence: z.int().min(1).nullable(),
  /** Such as "allReduce (sum)" or "broadcast from rank 0". */
  operation: z.string().max(200),
  /** Which of the run's groups: "world", or the one with another deadline; "tensor (ranks 0, 1)". */
  group: z.string().max(200),
  dtype: z.string().max(40),
  elements: z.int().min(0),
  /** What started it, such as "step 3, reduce bucket.1 start"; empty outside a step. */
  instruction: z.string().max(500),
  started: z.number(),
  wait_began: z.number().nullable(),
  ended: z.number().nullable(),
});

const recordSchema = z.strictObject({
  format: z.literal('trainyard-flight-1'),
  /** The same for all ranks of one start of one run. */
  run: z.string().max(200),
  rank: z.int().min(0).max(1_000_000),
  world_size: z.int().min(1).max(1_000_000),
  /** When it was written. */
  time: z.number(),
  /** Whether the rank still waits, a collective of it failed, or something of its own did. */
  state: z.enum(['waiting', 'collective failed', 'failed']),
  /** Why it failed, in a sentence; empty while it waits. */
  reason: z.string().max(5000),
  /** What it was doing. */
  instruction: z.string().max(500),
  /** The last collectives, the oldest first. */
  collectives: z.array(entrySchema).max(10_000),
});

export type CollectiveEntry = z.output<typeof entrySchema>;

/** What one rank knows of its own collectives: what it tells the others, and writes to a file when it fails. */
export type FlightRecord = z.output<typeof recordSchema>;

/** Reads a record; a text says what is wrong with it. */
export function parseFlightRecord(text: string): FlightRecord | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `it is no JSON (${error instanceof Error ? error.message : String(error)})`;
  }
  const { success, data, error } = recordSchema.safeParse(value);
  if (!success) {
    const [issue] = error.issues;
    return `it is no flight record: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`;
  }
  return data.rank < data.world_size ? data : `there is no rank ${data.rank} of ${data.world_size}`;
}

/** What a rank calls its group of all ranks with the usual deadline; others of all ranks begin with it. */
export const WORLD = 'world';

/** What a collective is counted in: all those of all ranks together, or those of one group of some of them. */
export function seriesOf({ group }: Pick<CollectiveEntry, 'group'>): string {
  return group.startsWith(WORLD) ? WORLD : group;
}

/** Two ranks in one collective say the same of it. */
export function fingerprintOf(entry: CollectiveEntry): string {
  return JSON.stringify([entry.operation, entry.group, entry.dtype, entry.elements, entry.instruction]);
}

/** "allReduce (sum) of float32 × 1000 (collective 17: step 3, reduce bucket.1 start)" */
export function describeEntry({
  operation,
  dtype,
  elements,
  sequence,
  instruction,
  group,
}: CollectiveEntry): string {
  const of = dtype === '' ? '' : ` of ${dtype} × ${elements}`;
  const series = seriesOf({ group }) === WORLD ? '' : ` of ${group}`;
  const number = sequence === null ? [] : [`collective ${sequence}${series}`];
  const place = [...number, ...(instruction === '' ? [] : [instruction])].join(': ');
  return `${operation}${of}${place === '' ? '' : ` (${place})`}`;
}
