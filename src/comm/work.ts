import { TrainyardError } from '../base/errors.js';
import type { NativeObject } from '../native/binding.js';
import { native } from '../native/native.js';
import { OTHER_OPERATION } from './flight/describe-culprit.js';

/** A collective that has been started. */
export interface Work {
  /**
   * Blocks until it is done on this rank; its tensors may be used then. Waiting again is harmless.
   *
   * @throws TrainyardError COLLECTIVE_FAILED when a peer is gone or the deadline has passed
   */
  wait(): void;
}

/** A collective that had nothing to do. */
export const finishedWork: Work = { wait: () => {} };

/** The same work with something to do at its end. */
export function followedBy(work: Work, finish: () => void): Work {
  let isDone = false;
  return {
    wait: () => {
      if (isDone) return;
      work.wait();
      finish();
      isDone = true;
    },
  };
}

/** What a pending collective says of itself when it fails, and how long it may take. */
export interface WorkDescription {
  /** Such as "allReduce of float32 [1000]". */
  readonly operation: string;
  /** Such as "rank 1 of 4". */
  readonly place: string;
  readonly timeoutMs: number;
  /** Called now and then while it is waited for; says why it will not be finished, if so. */
  readonly look?: (() => string | undefined) | undefined;
  /** Completes the result on this rank once the transport is done. */
  readonly finish?: () => void;
  readonly onFailure: () => void;
}

/** Work that the add-on's transport threads do. */
export class NativeWork implements Work {
  readonly #work: NativeObject;
  readonly #description: WorkDescription;
  #isDone = false;

  constructor(work: NativeObject, description: WorkDescription) {
    this.#work = work;
    this.#description = description;
  }

  wait(): void {
    if (this.#isDone) return;
    const startedMs = performance.now();
    try {
      this.#await(startedMs);
    } catch (error) {
      this.#description.onFailure();
      throw collectiveFailure(error, this.#description, performance.now() - startedMs);
    }
    this.#isDone = true;
    this.#description.finish?.();
  }

  /** In slices, between which it looks around: what is amiss seldom shows here, in what this rank waits for. */
  #await(startedMs: number): void {
    const { timeoutMs, look } = this.#description;
    const longestMs = Math.min(LONGEST_SLICE_MS, timeoutMs / 4);
    let sliceMs = Math.min(FIRST_SLICE_MS, longestMs);
    while (true) {
      const leftMs = startedMs + timeoutMs - performance.now();
      if (native.waitWork(this.#work, Math.ceil(Math.max(0, Math.min(sliceMs, leftMs))))) return;
      const reason = look?.();
      if (reason !== undefined) throw new Error(reason);
      if (leftMs <= sliceMs) throw new Error('timed out');
      sliceMs = Math.min(2 * sliceMs, longestMs);
    }
  }
}

/** Waits that are shorter are nothing unusual: so long a large message may be on its way. */
const FIRST_SLICE_MS = 500;
const LONGEST_SLICE_MS = 1000;

/** How the add-on, or whoever looks around, begins to say that ranks differ in what they do. */
const MISMATCH = 'mismatch: ';

/** How Gloo says that a message came which nobody asked for. */
const WRONG_SIZE = 'preamble';

/** The transport's complaint as an error that names the operation, the rank and what to look at. */
export function collectiveFailure(
  cause: unknown,
  { operation, place, timeoutMs }: Pick<WorkDescription, 'operation' | 'place' | 'timeoutMs'>,
  waitedMs: number,
): TrainyardError {
  const reason = transportReason(cause);
  const isMismatch = reason.startsWith(MISMATCH) || reason.includes(WRONG_SIZE);
  if (isMismatch) {
    return new TrainyardError(
      'COLLECTIVE_FAILED',
      {
        what: `${operation} failed: ${OTHER_OPERATION}.`,
        where: place,
        got: reason.startsWith(MISMATCH) ? reason.slice(MISMATCH.length) : reason,
        cure: 'let every rank do the same steps in the same order; it is a bug of Trainyard if no code of yours runs collectives',
      },
      { cause },
    );
  }
  const isLate = waitedMs >= timeoutMs || /timed? ?out/i.test(reason);
  return new TrainyardError(
    'COLLECTIVE_FAILED',
    {
      what: isLate
        ? `${operation} was not finished within ${timeoutMs / 1000} s.`
        : `${operation} failed: a peer is gone.`,
      where: place,
      got: reason,
      cure: isLate
        ? 'see which rank hangs or runs another program; a slow one needs a larger communication.timeout_seconds'
        : 'see the output of the other ranks: the one that ended first says why',
    },
    { cause },
  );
}

/** The first sentence, without the source position that Gloo puts before it. */
function transportReason(cause: unknown): string {
  const text =
    cause instanceof TrainyardError
      ? cause.report.what
      : cause instanceof Error
        ? cause.message
        : String(cause);
  const [sentence = ''] = text.replace(/\[[^\]]*\.(cc|h|cpp|hpp):\d+\] ?/g, '').split(/\. |\n/);
  return sentence;
}
