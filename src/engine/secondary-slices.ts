import type { ProcessGroup } from '../comm/process-group.js';
import type { SecondaryMemory } from '../step/handlers/step-state.js';
import { noGrad } from '../tensor/autograd.js';
import type { Device, DType } from '../tensor/dtype.js';
import { zeros } from '../tensor/generated/functions.js';
import { keep, type Tensor } from '../tensor/tensor.js';

/** This rank's slices of a second copy of parameters. Each is allocated when a step first needs it, and stays. */
export class SecondarySlices implements SecondaryMemory {
  readonly #slices = new Map<number, Tensor>();

  /** @param dtype what blocks compute with */
  constructor(
    readonly group: ProcessGroup,
    readonly dtype: DType,
    readonly device: Device,
  ) {}

  sliceOf(block: number, elements: number): Tensor {
    const known = this.#slices.get(block);
    if (known !== undefined) return known;
    const { dtype, device } = this;
    const slice = keep(noGrad(() => zeros([elements], { dtype, device })));
    this.#slices.set(block, slice);
    return slice;
  }

  dispose(): void {
    for (const slice of this.#slices.values()) slice.dispose();
  }
}
