import { noGrad } from '../../tensor/autograd.js';
import type { DType } from '../../tensor/dtype.js';
import { type FlatStore, finishedTransfer } from '../../tensor/flat-store.js';
import { zeros } from '../../tensor/generated/functions.js';
import { keep, type Tensor } from '../../tensor/tensor.js';
import type { Tier } from '../tier.js';

/**
 * The memory of the host beside a GPU. The processor updates what lies there where it lies; a copy to or from the GPU is
 * done when the call returns.
 */
export class HostTier implements Tier {
  readonly #isPinned: boolean;
  readonly #tensors: Tensor[] = [];

  /** @param isPinned on locked pages, which a GPU copies faster (DeepSpeed: pin_memory) */
  constructor(isPinned: boolean) {
    this.#isPinned = isPinned;
  }

  allocate(_name: string, lengths: readonly number[], dtype: DType): readonly FlatStore[] {
    return lengths.map((elements) => {
      const memory = keep(noGrad(() => zeros([elements], { dtype, pinMemory: this.#isPinned })));
      this.#tensors.push(memory);
      return sliceStore(memory);
    });
  }

  close(): void {
    for (const tensor of this.#tensors) tensor.dispose();
  }
}

/** A flat tensor as a store. What is on the host is its `memory`, which needs no copies. */
export function sliceStore(tensor: Tensor): FlatStore {
  const { elements, dtype } = tensor;
  const part = (offset: number, length: number): Tensor => tensor.narrow(0, offset, length);
  return {
    elements,
    dtype,
    ...(tensor.device === 'cpu' && { memory: tensor }),
    read(target, offset) {
      noGrad(() => target.copy_(part(offset, target.elements)));
      return finishedTransfer;
    },
    write(source, offset) {
      noGrad(() => part(offset, source.elements).copy_(source));
      return finishedTransfer;
    },
  };
}
