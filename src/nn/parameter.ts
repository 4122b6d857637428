import type { Tensor } from '../tensor/tensor.js';
import type { Division } from './tensor-axis.js';

/** How a parameter gets its first value when a model starts from a configuration alone. */
export type Initializer =
  /** `zeroRow`: a row that starts at zero instead, as that of a padding token. */
  | { readonly kind: 'normal'; readonly mean: number; readonly std: number; readonly zeroRow?: number }
  /** Evenly between −bound and bound. */
  | { readonly kind: 'uniform'; readonly bound: number }
  | { readonly kind: 'constant'; readonly value: number };

/** How a linear layer stores its weight: as torch.nn.Linear does, or as `Conv1D` in GPT-2. */
export type LinearStorage = 'outputs × inputs' | 'inputs × outputs';

/** What a block says about one of its parameters, before any memory exists. */
export interface ParameterDeclaration {
  /** Name inside the block ("self_attn.q_proj.weight"); the full name is `${block.name}.${name}`. */
  readonly name: string;
  readonly shape: readonly number[];
  readonly initializer: Initializer;
  /** Full name of the parameter that owns the memory, when this one is tied to it. */
  readonly tiedTo?: string;
  /** Never trained: it has no gradient, no optimizer state, and is in memory once per host. */
  readonly frozen?: boolean;
  /** It is the weight of a linear layer, to which an adapter can be added. */
  readonly linear?: LinearStorage;
  /** It is a part of a parameter that is divided over a tensor axis, or a copy of one that is whole on all of it. */
  readonly division?: Division;
  /** Other stages of a pipeline have the same one. */
  readonly shared?: SharedParameter;
}

/** A parameter that several stages of a pipeline have, and keep equal: one that ties blocks of theirs. */
export interface SharedParameter {
  /** Full name of the parameter that is tied to, whatever it is called here. */
  readonly name: string;
  /** Whether another stage is its home. */
  readonly isCopy: boolean;
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
  /** What linear layers add to the product with this weight. */
  readonly updates?: readonly LowRankUpdate[];
  /** As it was declared; of several as one, that of the first. */
  readonly division?: Division;
}

/**
 * A matrix of low rank that is added to a linear layer's weight without being worked out: `scale · up · down`
 * (LoRA, arXiv 2106.09685).
 */
export interface LowRankUpdate {
  /** [rank, inputs]; A in the paper. */
  readonly down: Parameter;
  /** [outputs, rank]; B in the paper. */
  readonly up: Parameter;
  readonly scale: number;
  /** Probability with which an input element does not reach the update; 0 outside training. */
  readonly dropout: number;
  /** The first output that it is added to. */
  readonly firstOutput: number;
}
