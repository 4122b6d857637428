import { z } from 'zod';
import type { Section } from '../flight-record.js';
import { STOP_SIGNALS } from '../stop-signals.js';

/**
 * What a launcher and its agent on another host say to each other over ssh: one JSON object a line. Ranks are numbered
 * within their host here.
 */

/** From the launcher: who starts what, then what becomes of it. */
export type HostOrder = z.infer<typeof ORDER>;

/** From the agent. */
export type HostWord = z.infer<typeof WORD>;

const rankNumber = z.int().min(0).max(100_000);

const START = z.strictObject({
  order: z.literal('start'),
  /** Of the command that every rank runs. */
  arguments: z.array(z.string()),
  folder: z.string(),
  /** Added to the environment of the host. */
  variables: z.record(z.string(), z.string()),
  ranks: z.int().min(1).max(100_000),
  place: z.strictObject({
    host: rankNumber,
    firstRank: rankNumber,
    worldSize: rankNumber,
    masterAddress: z.string(),
    masterPort: z.int().min(1).max(65_535),
    runId: z.string(),
  }),
});

const ORDER = z.discriminatedUnion('order', [
  START,
  z.strictObject({ order: z.literal('signal'), rank: rankNumber, signal: z.enum(STOP_SIGNALS) }),
  z.strictObject({ order: z.literal('kill'), rank: rankNumber }),
  z.strictObject({ order: z.literal('stay') }),
]);

const SECTION = z.object({
  step: z.number(),
  instruction: z.string(),
  ageMs: z.number(),
  silentMs: z.number().optional(),
});

const WORD = z.discriminatedUnion('word', [
  z.object({
    word: z.literal('ready'),
    version: z.string(),
    /** A free port, should the ranks meet on this host. */
    port: z.int().min(1).max(65_535),
    /** Of its network interfaces. */
    addresses: z.array(z.object({ address: z.string(), isInternal: z.boolean() })),
  }),
  z.object({ word: z.literal('refused'), what: z.string(), got: z.string() }),
  /** An event as the rank has written it. */
  z.object({ word: z.literal('event'), rank: rankNumber, line: z.string() }),
  z.object({ word: z.literal('output'), rank: rankNumber, lines: z.array(z.string()) }),
  z.object({ word: z.literal('section'), rank: rankNumber, section: SECTION }),
  z.object({
    word: z.literal('exit'),
    rank: rankNumber,
    code: z.number().nullable(),
    signal: z.string().nullable(),
  }),
  z.object({ word: z.literal('closed'), rank: rankNumber }),
]);

/** Tells an agent what to start, and where it stands. */
export type StartOrder = z.infer<typeof START>;

export function encodeLine(message: HostOrder | HostWord): string {
  return `${JSON.stringify(message)}\n`;
}

/** Undefined for a line that is no order. */
export function decodeOrder(line: string): HostOrder | undefined {
  return decode(ORDER, line);
}

/** Undefined for a line that is none: a host may greet with whatever its shell prints. */
export function decodeWord(line: string): HostWord | undefined {
  return decode(WORD, line);
}

function decode<Message>(schema: z.ZodType<Message>, line: string): Message | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return undefined;
  }
  return schema.safeParse(value).data;
}

/** Clocks of hosts differ; ages do not. */
export function sectionToSend({ since, ...section }: Section): z.infer<typeof SECTION> {
  return { ...section, ageMs: Date.now() - since };
}

export function sectionReceived({ ageMs, silentMs, ...section }: z.infer<typeof SECTION>): Section {
  return { ...section, since: Date.now() - ageMs, ...(silentMs !== undefined && { silentMs }) };
}
