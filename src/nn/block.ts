import type { Tensor } from '../tensor/tensor.js';
import type { HeadCounts } from './head-counts.js';
import type { KeyValueCache } from './key-value-cache.js';
import type { Parameter, ParameterDeclaration } from './parameter.js';
import type { SequenceAxis } from './sequence-axis.js';
import type { TensorAxis } from './tensor-axis.js';

/** The named tensors that flow from one block to the next ("hidden", and from the last block "loss"). */
export type Activations = Readonly<Record<string, Tensor>>;

/** One micro-batch on the device. Every tensor is int64 of shape [rows, length]. */
export interface MicroBatch {
  readonly inputIds: Tensor;
  /** The target of each position: already shifted, -100 where there is none. Absent for generation. */
  readonly labels?: Tensor;
}

/** What a block may know beyond its parameters and its input. */
export interface BlockContext {
  readonly batch: MicroBatch;
  /** The factor on the summed token losses that makes the gradient of the global mean. */
  readonly lossScale: number;
  /** Dropout is active. */
  readonly training: boolean;
  /** The last block also returns "logits" ([rows, length, vocabulary]), readable until its backward. */
  readonly wantLogits: boolean;
  /**
   * For generation: keys and values of the positions before this batch, which goes on from them. The last
   * block then computes the logits of the last position only.
   */
  readonly cache?: KeyValueCache;
  /**
   * The ranks whose batches are the other parts of these sequences, this one's being the positions from rank × length
   * on: attention has to reach over them (`sharedAttention`). Absent: the sequences are whole.
   */
  readonly sequenceAxis?: SequenceAxis;
}

/** A block's parameters by the names of its declarations. */
export interface BlockParameters {
  get(name: string): Parameter;
  /**
   * Several parameters that lie next to each other in memory as one, concatenated along dimension 0: one
   * matrix product in place of several. The names must be declared consecutively, in this order.
   */
  joined(names: readonly string[]): Parameter;
}

/**
 * The unit of a step program: a function with named parameters from activations to activations (the
 * embedding; one decoder layer; norm, head and loss). Autograd lives inside one block and one micro-batch.
 */
export interface Block {
  /** What people and programs call it ("model.layers.3"), and as a rule its parameters' prefix; may be empty. */
  readonly name: string;
  /** What stands before its parameters' names in their full names, where that is not its own name. */
  readonly parameterPrefix?: string;
  readonly parameters: readonly ParameterDeclaration[];
  /** Groups of parameters that `forward` asks for as one, by `joined`. */
  readonly joins?: readonly (readonly string[])[];
  /**
   * Two blocks that, run one after the other, come to this one: attention and feed-forward of a decoder layer.
   * Where `recompute.granularity` is "half" they are trained in its place. Together they declare its parameters,
   * in its order and under its full names, so that they have its name as `parameterPrefix`; their own names are
   * for people ("model.layers.3.attention"). `BlockOfHalves` makes a block of two that are so.
   */
  readonly halves?: readonly [Block, Block];
  /** Pure but for the random generator, so that it can be run again in backward. */
  forward(parameters: BlockParameters, input: Activations, context: BlockContext): Activations;
}

/** A model is its blocks, in order. The last block returns "loss": the scaled sum. */
export interface Model {
  readonly architecture: string;
  readonly vocabularySize: number;
  /** Longest sequence the model can take; undefined when there is no limit. */
  readonly maximumLength?: number;
  readonly blocks: readonly Block[];
  /** What the blocks were made from, to be written as `config.json` beside saved weights. */
  readonly config?: Readonly<Record<string, unknown>>;
  /**
   * The heads of this rank's attentions, where its blocks heed `BlockContext.sequenceAxis`. Absent: they work on whole
   * sequences alone.
   */
  readonly attentionHeads?: HeadCounts;
  /** Frees what the blocks have made and share beside their parameters (tables). They make it again when they run. */
  dispose?(): void;
  /** Tables that its blocks share. */
  readonly tables?: readonly ConstantTable[];
  /**
   * The same model with its matrices divided over the ranks of an axis, seen from one of them: as many blocks under the
   * same names, whose parameters are parts of these. Absent where that is not known.
   *
   * @throws TrainyardError CONFIG_CONFLICT where it cannot be divided so
   */
  divided?(axis: TensorAxis): Model;
}

/**
 * A table that follows from a model's configuration alone, and never changes: the ranks of a host can have it in
 * common.
 */
export interface ConstantTable {
  /** Of a table in fp32 for sequences of this length. */
  shape(length: number): readonly number[];
  /** Fills a tensor of that shape. */
  fill(target: Tensor): void;
  /** Works on this tensor of that shape from now on, and disposes it. */
  adopt(table: Tensor): void;
}
