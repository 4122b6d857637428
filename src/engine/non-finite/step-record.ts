import type { MicroBatchData } from '../../data/batch-source.js';
import type { Device } from '../../tensor/dtype.js';
import { randomState } from '../../tensor/random.js';

/** What one rank's step was computed from, beside its weights: the generator's state and the batches that it asked for. */
export class StepRecord {
  readonly random: Uint8Array;
  readonly #microBatches = new Map<number, MicroBatchData>();

  constructor(
    device: Device,
    private readonly source: (micro: number) => MicroBatchData,
  ) {
    this.random = randomState(device);
  }

  /** The same each time that it is asked for, whatever the source would say. */
  microBatch(micro: number): MicroBatchData {
    const known = this.#microBatches.get(micro);
    if (known !== undefined) return known;
    const data = this.source(micro);
    this.#microBatches.set(micro, data);
    return data;
  }

  /** In their order, those that the step has asked for. */
  get microBatches(): readonly MicroBatchData[] {
    return [...this.#microBatches].sort(([left], [right]) => left - right).map(([, data]) => data);
  }
}
