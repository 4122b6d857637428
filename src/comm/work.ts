import { TrainyardError } from '../base/errors.js';
import type { NativeObject } from '../native/binding.js';
import { native } from '../native/native.js';

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
      native.waitWork(this.#work, this.#description.timeoutMs);
    } catch (error) {
      this.#description.onFailure();
      throw collectiveFailure(error, this.#description, performance.now() - startedMs);
    }
    this.#isDone = true;
    this.#description.finish?.();
  }
}

/** How the add-on begins to say that ranks differ in what they do. */
const MISMATCH = 'mismatch: ';

/** The transport's complaint as an error that names the operation, the rank and what to look at. */
export function collectiveFailure(
  cause: unknown,
  { operation, place, timeoutMs }: Pick<WorkDescription, 'operation' | 'place' | 'timeoutMs'>,
  waitedMs: number,
): TrainyardError {
  const reason = transportReason(cause);
  if (reason.startsWith(MISMATCH)) {
    return new TrainyardError(
      'COLLECTIVE_FAILED',
      {
        what: `${operation} failed: the ranks are not in the same operation.`,
        where: place,
        got: reason.slice(MISMATCH.length),
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
  const text = cause instanceof TrainyardError ? cause.report.what : String(cause);
  const [sentence = ''] = text.replace(/\[[^\]]*\.(cc|h|cpp|hpp):\d+\] ?/g, '').split(/\. |\n/);
  return sentence;
}
