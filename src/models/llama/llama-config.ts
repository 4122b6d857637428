import type { Activation } from '../../nn/activation.js';
import type { RotaryFrequencies } from '../../nn/rotary-frequencies.js';

/**
 * What a model of the Llama family computes, resolved from a configuration: no field of it depends on the
 * architecture's name any more.
 */
export interface LlamaConfig {
  readonly architecture: string;
  readonly vocabularySize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly queryHeads: number;
  /** Groups of query heads share a key and value head (grouped-query attention, arXiv 2305.13245). */
  readonly keyValueHeads: number;
  readonly headSize: number;
  readonly activation: Activation;
  readonly normEpsilon: number;
  readonly initializerRange: number;
  readonly queryKeyValueBias: boolean;
  readonly outputBias: boolean;
  readonly feedForwardBias: boolean;
  /** RMSNorm over each query and key head before the rotation, as in Qwen3. */
  readonly queryKeyNorm: boolean;
  readonly tiedHead: boolean;
  readonly rotary: RotaryFrequencies;
  /** One entry a layer: how many positions, its own included, each position sees. Absent: all before it. */
  readonly windows: readonly (number | undefined)[];
  readonly attentionDropout: number;
  /** The token whose embedding gets no gradient. */
  readonly paddingIndex?: number;
}
