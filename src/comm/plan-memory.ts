import { invariant } from '../base/errors.js';
import { native } from '../native/native.js';
import { keep, type Tensor } from '../tensor/tensor.js';
import type { ElementRange } from './algorithm/plan.js';
import { combine } from './combine.js';
import type { MessageBuffers } from './message-buffers.js';
import type { Reduction } from './process-group.js';

/** Where the elements are that a plan is about. */
export interface PlanMemory {
  /** The own elements as they are now, flat: to be sent, or for a copy to arrive in. */
  view(range: ElementRange): Tensor;
  /** Takes in what arrived for one range, each message in a buffer that now belongs to the memory. */
  combine(range: ElementRange, buffers: readonly Tensor[], reduction: Reduction): void;
  /** These elements were sent, and are the peer's from now on. */
  leave(range: ElementRange): void;
  dispose(): void;
}

/** One tensor, in place: an all-reduce, or the output of an all-gather. */
export class WholeMemory implements PlanMemory {
  readonly #flat: Tensor;
  readonly #buffers: MessageBuffers;

  constructor(tensor: Tensor, buffers: MessageBuffers) {
    this.#flat = keep(tensor.view([-1]));
    this.#buffers = buffers;
  }

  view({ start, end }: ElementRange): Tensor {
    return this.#flat.narrow(0, start, end - start);
  }

  combine(range: ElementRange, buffers: readonly Tensor[], reduction: Reduction): void {
    combine(this.view(range), messagesIn(buffers, range), reduction);
    for (const buffer of buffers) this.#buffers.give(buffer);
  }

  leave(): void {}

  dispose(): void {
    this.#flat.dispose();
  }
}

/**
 * The inputs of a reduce-scatter, which stay as they are: sums that are on their way to other ranks are made in the
 * buffers that messages arrive in, and the own one in the output.
 */
export class ScatterMemory implements PlanMemory {
  readonly #parts: readonly Tensor[];
  readonly #own: number;
  readonly #buffers: MessageBuffers;
  /** Partial sums by where they start. */
  readonly #sums = new Map<number, Tensor>();

  /**
   * @param inputs one for each part of the whole, equally long
   * @param own the part that `output` is for
   */
  constructor(output: Tensor, inputs: readonly Tensor[], own: number, buffers: MessageBuffers) {
    const input = inputs[own];
    invariant(input, `there is no input for part ${own}`);
    if (input !== output) output.copy_(input);
    this.#parts = inputs.map((each, part) => keep((part === own ? output : each).view([-1])));
    this.#own = own;
    this.#buffers = buffers;
  }

  view(range: ElementRange): Tensor {
    const sum = this.#sums.get(range.start);
    return sum === undefined ? this.#part(range) : sum.narrow(0, 0, range.end - range.start);
  }

  combine(range: ElementRange, buffers: readonly Tensor[], reduction: Reduction): void {
    const messages = messagesIn(buffers, range);
    if (this.#indexOf(range) === this.#own) {
      combine(this.#part(range), messages, reduction);
      for (const buffer of buffers) this.#buffers.give(buffer);
      return;
    }
    const [sum, ...rest] = buffers;
    const [first, ...others] = messages;
    invariant(sum && first, 'something has arrived');
    combine(first, [this.view(range), ...others], reduction);
    this.leave(range);
    this.#sums.set(range.start, sum);
    for (const buffer of rest) this.#buffers.give(buffer);
  }

  leave({ start }: ElementRange): void {
    const sum = this.#sums.get(start);
    if (sum === undefined) return;
    this.#sums.delete(start);
    this.#buffers.give(sum);
  }

  dispose(): void {
    for (const part of this.#parts) part.dispose();
  }

  #indexOf({ start }: ElementRange): number {
    return Math.floor(start / (this.#parts[0]?.elements ?? 1));
  }

  #part(range: ElementRange): Tensor {
    const part = this.#parts[this.#indexOf(range)];
    invariant(part, `no part has element ${range.start}`);
    return part.narrow(0, range.start % part.elements, range.end - range.start);
  }
}

/** Puts this rank's part into the output of an all-gather, unless it is there. */
export function placeOwn(output: Tensor, input: Tensor, rank: number): void {
  const own = output.view([-1]).narrow(0, rank * input.elements, input.elements);
  const isThere = native.addressOf(own.handle) === native.addressOf(input.handle);
  if (!isThere) own.copy_(input.view([-1]));
}

function messagesIn(buffers: readonly Tensor[], { start, end }: ElementRange): readonly Tensor[] {
  return buffers.map((buffer) => buffer.narrow(0, 0, end - start));
}
