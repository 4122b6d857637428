import { longest, seconds } from './measure-together.js';
import type { ProcessGroup } from './process-group.js';

/** What something took. */
export interface Took {
  /** On this rank, in seconds. */
  readonly own: number;
  /** On the slowest. */
  readonly slowest: number;
}

/** Time that all ranks measure in together. What is left of it they know alike, and may decide by. */
export class MeasuringTime {
  readonly #startMs = performance.now();
  #spent = 0;

  /** @param limit in seconds */
  constructor(
    readonly transport: ProcessGroup,
    readonly limit: number,
  ) {}

  /** In seconds. */
  get left(): number {
    return Math.max(0, this.limit - this.#spent);
  }

  /** All ranks do this, and then wait for each other, so that none is late for what comes next. */
  take(body: () => void): Took {
    const own = seconds(body);
    const [slowest = own, spent = 0] = longest(this.transport, [
      own,
      (performance.now() - this.#startMs) / 1000,
    ]);
    this.#spent = spent;
    return { own, slowest };
  }
}
