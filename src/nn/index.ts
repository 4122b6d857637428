/** What blocks are made of. Functions take `Parameter`s and accumulate their gradients in place. */
export { type Activation, activate } from './activation.js';
export { type AttentionOptions, attention } from './attention.js';
export type { Activations, Block, BlockContext, BlockParameters, MicroBatch, Model } from './block.js';
export { BlockOfHalves } from './block-of-halves.js';
export { dropout } from './dropout.js';
export { embedding } from './embedding.js';
export { gatedActivation } from './gated-activation.js';
export type { HeadOptions, HeadResult } from './head.js';
export type { HeadCounts } from './head-counts.js';
export { layerNorm } from './layer-norm.js';
export { type LinearOptions, linear, transposedLinear } from './linear.js';
export { linearCrossEntropy } from './linear-cross-entropy.js';
export type { Initializer, Parameter, ParameterDeclaration } from './parameter.js';
export { rmsNorm } from './rms-norm.js';
export type { SequenceAxis } from './sequence-axis.js';
export { type Attend, sharedAttention } from './shared-attention.js';
