import { randomUUID } from 'node:crypto';
import { accessSync, constants, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What a rank was doing, and since when (milliseconds since the epoch). */
export interface Section {
  readonly step: number;
  readonly instruction: string;
  readonly since: number;
  /**
   * How long the process had not run when this was read, as far as its heartbeat tells (milliseconds); absent where none
   * has come.
   */
  readonly silentMs?: number;
}

// The record: step and time as doubles, the length of the text, the text; behind it the time of the last heartbeat.
const TIME_OFFSET = 8;
const LENGTH_OFFSET = 16;
const TEXT_OFFSET = 20;
const RECORD_BYTES = 512;

/** Where in the record a native thread of the rank writes the time, and how often. */
export const HEARTBEAT = { byteOffset: RECORD_BYTES, intervalMs: 100 } as const;

/**
 * Makes the memory that one rank writes its section to and its supervisor reads: a nameless file, which
 * needs no clearing away and still tells its last entry when the writer was killed between two instructions.
 *
 * @returns a file descriptor; the supervisor hands it to the rank and keeps it open
 */
export function createFlightRecord(): number {
  const path = join(memoryFolder(), `trainyard-${process.pid}-${randomUUID()}`);
  const descriptor = openSync(path, 'wx+', 0o600);
  unlinkSync(path);
  return descriptor;
}

/** Writes sections over one another: one system call, and nothing allocated. */
export class FlightRecorder {
  readonly #descriptor: number;
  readonly #record = Buffer.alloc(RECORD_BYTES);

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  write(step: number, instruction: string): void {
    const length = this.#record.write(instruction, TEXT_OFFSET, 'utf8');
    this.#record.writeDoubleLE(step, 0);
    this.#record.writeDoubleLE(Date.now(), TIME_OFFSET);
    this.#record.writeUInt32LE(length, LENGTH_OFFSET);
    writeSync(this.#descriptor, this.#record, 0, TEXT_OFFSET + length, 0);
  }
}

/** The last section written, or undefined when there was none. */
export function readFlightRecord(descriptor: number): Section | undefined {
  const record = Buffer.alloc(RECORD_BYTES + Float64Array.BYTES_PER_ELEMENT);
  readSync(descriptor, record, 0, record.length, 0);
  const since = record.readDoubleLE(TIME_OFFSET);
  // The heartbeat may be the first.
  if (since === 0) return undefined;
  const [beat = 0] = new Float64Array(record.buffer, HEARTBEAT.byteOffset, 1);
  const textEnd = Math.min(RECORD_BYTES, TEXT_OFFSET + record.readUInt32LE(LENGTH_OFFSET));
  return {
    step: record.readDoubleLE(0),
    since,
    instruction: record.toString('utf8', TEXT_OFFSET, textEnd),
    ...(beat > 0 && { silentMs: Math.max(0, Date.now() - beat) }),
  };
}

function memoryFolder(): string {
  const shared = '/dev/shm';
  try {
    accessSync(shared, constants.W_OK);
    return shared;
  } catch {
    return tmpdir();
  }
}
