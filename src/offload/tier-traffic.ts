import { DTYPES } from '../tensor/dtype.js';
import type { FlatStore, Transfer } from '../tensor/flat-store.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Tier } from './tier.js';

/** What has moved between the device and other tiers so far, and how long this thread stood still for it. */
export interface TierTraffic {
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Whatever was done meanwhile is not in it: of a transfer that computation hides, nothing is. */
  readonly waitedMs: number;
}

/** Counts what goes through tiers. */
export class TrafficMeter implements TierTraffic {
  readBytes = 0;
  writtenBytes = 0;
  waitedMs = 0;

  /** The same tier, counted. */
  watch(tier: Tier): Tier {
    return {
      allocate: (name, lengths, dtype) =>
        tier.allocate(name, lengths, dtype).map((store) => this.#watchStore(store)),
      close: () => tier.close(),
    };
  }

  #watchStore(store: FlatStore): FlatStore {
    return {
      elements: store.elements,
      dtype: store.dtype,
      ...(store.memory && { memory: store.memory }),
      read: (target, offset) => {
        this.readBytes += bytesOf(target);
        return this.#watchTransfer(() => store.read(target, offset));
      },
      write: (source, offset) => {
        this.writtenBytes += bytesOf(source);
        return this.#watchTransfer(() => store.write(source, offset));
      },
    };
  }

  #watchTransfer(start: () => Transfer): Transfer {
    const transfer = this.#timed(start);
    return { wait: () => this.#timed(() => transfer.wait()) };
  }

  #timed<Result>(body: () => Result): Result {
    const startMs = performance.now();
    try {
      return body();
    } finally {
      this.waitedMs += performance.now() - startMs;
    }
  }
}

function bytesOf({ elements, dtype }: Tensor): number {
  return elements * DTYPES[dtype].bytes;
}
