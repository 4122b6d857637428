import type { Tensor } from '../tensor/tensor.js';

/** How a parameter gets its first value when a model starts from a configuration alone. */
export type Initializer =
  /** `zeroRow`: a row that starts at zero instead, as that of a padding token. */
  | { readonly kind: 'normal'; readonly mean: number; readonly std: number; readonly zeroRow?: number }
  | { readonly kind: 'constant'; readonly value: number };

/** What a block says about one of its parameters, before any memory exists. */
export interface ParameterDeclaration {
  /** Name inside the block ("self_attn.q_proj.weight"); the full name is `${block.name}.${name}`. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly initializer: Initializer;
  /** Full name of the parameter that owns the memory, when this one is tied to it. */
  readonly tiedTo?: string;
}

/**
 * One parameter with its memory. `value` and `gradient` are views into flat buffers that the engine owns.
 *
 * Two ways lead a gradient into `gradient`: `value` is an autograd leaf whose `.grad` is that view, so any
 * operator works; and the fused operators of `nn` accumulate there directly, without a temporary.
 */
export interface Parameter {
  /** Full Hugging Face name. */
  readonly name: string;
  readonly value: Tensor;
  /** Absent while no gradient is wanted: a frozen parameter, or evaluation. */
  readonly gradient?: Tensor;
}
