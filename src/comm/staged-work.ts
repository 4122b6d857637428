import { noGrad } from '../tensor/autograd.js';
import { scope } from '../tensor/tensor.js';
import type { Work } from './work.js';

/** A collective that yields where it has to wait for other ranks. All ranks yield equally often. */
export type Stages<Result = void> = Generator<undefined, Result>;

/**
 * Collectives that are made of several messages one after the other. Messages travel on the transport's threads, but
 * what follows one that has come (a sum, the next message) needs this thread. Everything under way therefore goes on by
 * one stage whenever a later collective starts, when what it waits for has had a while to arrive, and a collective
 * runs to its end in `wait`.
 *
 * [Note: one order] All ranks start the same collectives in the same order, and everything under way goes on in the
 * order in which it was started, so that no two ranks wait for each other.
 */
export class StagedWorks {
  readonly #pending = new Set<Stages>();
  /** What has failed: nothing that is under way can end well after that. */
  #failure: unknown;

  /** Starts a collective, after letting those under way go on. */
  start(stages: Stages): Work {
    this.advance();
    this.#pending.add(stages);
    this.#step(stages);
    return {
      wait: () => {
        while (this.#pending.has(stages)) this.advance();
      },
    };
  }

  /** Takes everything under way one stage further. */
  advance(): void {
    for (const stages of [...this.#pending]) this.#step(stages);
  }

  #step(stages: Stages): void {
    if (this.#failure !== undefined) throw this.#failure;
    try {
      const { done } = noGrad(() => scope(() => stages.next()));
      if (done === true) this.#pending.delete(stages);
    } catch (error) {
      this.#failure = error;
      throw error;
    }
  }
}
