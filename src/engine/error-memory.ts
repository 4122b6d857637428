import { type ErrorMemory, serverElements } from '../step/message-errors.js';
import type { ErrorFeedbackLayout } from '../step/program.js';
import { noGrad } from '../tensor/autograd.js';
import type { Device } from '../tensor/dtype.js';
import { zeros } from '../tensor/generated/functions.js';
import { keep, type Tensor } from '../tensor/tensor.js';

/** The errors of one rank's messages, at first none, and the loss scale under which they were made. */
export class TrainingErrors implements ErrorMemory {
  readonly worker: Tensor;
  readonly server: Tensor;
  /** Of the gradients whose errors these are; undefined as long as there are none. */
  #lossScale: number | undefined;

  constructor(layout: ErrorFeedbackLayout, device: Device) {
    this.worker = keep(noGrad(() => zeros([layout.worker], { device })));
    this.server = keep(noGrad(() => zeros([serverElements(layout)], { device })));
  }

  get lossScale(): number | undefined {
    return this.#lossScale;
  }

  /** A loss scale moves by powers of two, which change no bit of a significand. */
  expressIn(lossScale: number): void {
    const factor = this.#lossScale === undefined ? 1 : lossScale / this.#lossScale;
    this.#lossScale = lossScale;
    if (factor === 1) return;
    noGrad(() => {
      for (const each of [this.worker, this.server]) each.mul_(factor);
    });
  }

  /** Zeros again, to be filled with errors that were made under a loss scale. */
  reset(lossScale: number | undefined): void {
    this.#lossScale = lossScale;
    noGrad(() => {
      for (const each of [this.worker, this.server]) each.zero_();
    });
  }

  dispose(): void {
    for (const each of [this.worker, this.server]) each.dispose();
  }
}
