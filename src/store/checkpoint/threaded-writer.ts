import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { invariant } from '../../base/errors.js';
import { DTYPES } from '../../tensor/dtype.js';
import type { CheckpointDraft, CheckpointPart, PieceSource } from './write.js';
import {
  type CheckpointWriter,
  type CommitTask,
  type Committed,
  DirectWriter,
  type Job,
  type Outcome,
  type PartTask,
} from './writer.js';

/** A piece as it was when it was copied. */
export interface CopiedPiece extends Omit<PieceSource, 'read'> {
  readonly bytes: Uint8Array;
}

/** What the thread is told. */
export type WriterRequest =
  | {
      readonly kind: 'part';
      readonly task: Omit<PartTask, 'sources'>;
      readonly pieces: readonly CopiedPiece[];
    }
  | { readonly kind: 'commit'; readonly task: CommitTask };

/** What it answers. */
export interface WriterAnswer {
  readonly outcome: Outcome<CheckpointPart | Committed>;
  /** The memory of the copies, for the next ones. */
  readonly buffers: readonly ArrayBuffer[];
}

/** What both threads see: the number of answers so far. */
const ANSWERS = 0;

/**
 * Copies what is to be saved and lets a thread write it. Nothing here waits but `outcome`, and nothing needs the event
 * loop: a program that trains without ever yielding gets its answers all the same.
 */
export class ThreadedWriter implements CheckpointWriter {
  readonly #answers = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  readonly #port: MessagePort;
  readonly #worker: Worker;
  #buffers: readonly ArrayBuffer[] = [];

  constructor() {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    this.#worker = new Worker(new URL('./writer-thread.js', import.meta.url), {
      workerData: { port: port2, answers: this.#answers },
      transferList: [port2],
    });
    // A run that ends waits for its saves before; whatever else ends it need not wait for the thread.
    this.#worker.unref();
    this.#port.unref();
  }

  writePart({ sources, ...task }: PartTask): Job<CheckpointPart> {
    const pool = [...this.#buffers];
    this.#buffers = [];
    const pieces = sources.map((source) => copyOf(source, pool));
    const transfer = pieces.map(({ bytes }) => bytes.buffer as ArrayBuffer);
    return this.#ask<CheckpointPart>({ kind: 'part', task, pieces }, transfer);
  }

  commit(task: CommitTask): Job<Committed> {
    return this.#ask<Committed>({ kind: 'commit', task }, []);
  }

  abandon(draft: CheckpointDraft): void {
    new DirectWriter().abandon(draft);
  }

  close(): void {
    this.#port.close();
    void this.#worker.terminate();
  }

  #ask<Result extends CheckpointPart | Committed>(
    request: WriterRequest,
    transfer: readonly ArrayBuffer[],
  ): Job<Result> {
    const before = Atomics.load(this.#answers, ANSWERS);
    this.#port.postMessage(request, transfer);
    let outcome: Outcome<Result> | undefined;
    const look = (): Outcome<Result> | undefined => {
      outcome ??= this.#receive() as Outcome<Result> | undefined;
      return outcome;
    };
    return {
      get isDone() {
        return look() !== undefined;
      },
      outcome: () => {
        while (look() === undefined) Atomics.wait(this.#answers, ANSWERS, before);
        invariant(outcome, 'an answer was waited for');
        return outcome;
      },
    };
  }

  #receive(): Outcome<CheckpointPart | Committed> | undefined {
    const received = receiveMessageOnPort(this.#port);
    if (received === undefined) return undefined;
    const { outcome, buffers } = received.message as WriterAnswer;
    this.#buffers = [...this.#buffers, ...buffers];
    return outcome;
  }
}

/** A copy, in memory of an earlier one where some of the same size is left: fresh memory costs more than the copy. */
function copyOf({ read, ...piece }: PieceSource, pool: ArrayBuffer[]): CopiedPiece {
  const size = piece.elements * DTYPES[piece.dtype].bytes;
  const index = pool.findIndex(({ byteLength }) => byteLength === size);
  const [buffer = new ArrayBuffer(size)] = index === -1 ? [] : pool.splice(index, 1);
  const bytes = new Uint8Array(buffer);
  read(bytes, 0);
  return { ...piece, bytes };
}
