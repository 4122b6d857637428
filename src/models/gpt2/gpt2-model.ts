import type { Block, Model } from '../../nn/block.js';
import { divideDeclarations } from '../../nn/divide.js';
import { dropout } from '../../nn/dropout.js';
import { embedding, positionEmbedding } from '../../nn/embedding.js';
import { headsOfRank } from '../../nn/head-counts.js';
import { layerNorm } from '../../nn/layer-norm.js';
import type { TensorAxis } from '../../nn/tensor-axis.js';
import { arange } from '../../tensor/generated/functions.js';
import { bias, gain, matrix } from '../declare.js';
import { declareHead, HEAD_WEIGHT, runHead } from '../head.js';
import { hiddenOf } from '../hidden.js';
import type { Gpt2Config } from './gpt2-config.js';
import { gpt2Layer } from './gpt2-layer.js';
import { gpt2Placements } from './placements.js';

const PREFIX = 'transformer';
const EMBEDDING = 'wte.weight';
const POSITIONS = 'wpe.weight';
const FINAL_NORM = `${PREFIX}.ln_f`;

/**
 * GPT-2 as blocks: the embeddings of tokens and positions, each layer, and the final norm with head and loss.
 * Names are Hugging Face's. Positions are learned, so there is a longest sequence.
 */
export function gpt2Model(config: Gpt2Config, axis?: TensorAxis): Model {
  return {
    architecture: 'gpt2',
    vocabularySize: config.vocabularySize,
    maximumLength: config.positions,
    blocks: [
      embeddingBlock(config, axis),
      ...Array.from({ length: config.layers }, (_, index) => gpt2Layer(index, config, axis)),
      headBlock(config, axis),
    ],
    attentionHeads: headsOfRank({ query: config.heads, keyValue: config.heads }, axis?.size),
    divided: (ranks) => gpt2Model(config, ranks),
  };
}

function embeddingBlock(config: Gpt2Config, axis: TensorAxis | undefined): Block {
  const { vocabularySize, positions, hiddenSize, initializerRange } = config;
  return {
    name: PREFIX,
    parameters: divideDeclarations(
      [
        matrix(EMBEDDING, [vocabularySize, hiddenSize], initializerRange),
        matrix(POSITIONS, [positions, hiddenSize], initializerRange),
      ],
      gpt2Placements(config),
      axis,
    ),
    forward(parameters, _input, { batch, training, cache, sequenceAxis }) {
      const { inputIds } = batch;
      const length = inputIds.shape[1] ?? 0;
      const first = cache?.length ?? (sequenceAxis?.rank ?? 0) * length;
      const indices = arange(first, first + length, { dtype: 'int64', device: inputIds.device });
      const tokens = embedding(parameters.get(EMBEDDING), inputIds);
      const sum = tokens.add(positionEmbedding(parameters.get(POSITIONS), indices));
      return { hidden: dropout(sum, config.dropout.embedding, training) };
    },
  };
}

function headBlock(config: Gpt2Config, axis: TensorAxis | undefined): Block {
  const { vocabularySize, hiddenSize, initializerRange, tiedHead } = config;
  const weight = `${FINAL_NORM}.weight`;
  const shift = `${FINAL_NORM}.bias`;
  return {
    name: '',
    parameters: divideDeclarations(
      [
        gain(weight, hiddenSize),
        bias(shift, hiddenSize),
        declareHead(
          vocabularySize,
          hiddenSize,
          initializerRange,
          tiedHead ? `${PREFIX}.${EMBEDDING}` : undefined,
        ),
      ],
      gpt2Placements(config),
      axis,
    ),
    forward(parameters, input, context) {
      const hidden = hiddenOf(input);
      const normed = layerNorm(hidden, parameters.get(weight), parameters.get(shift), config.normEpsilon);
      return runHead(normed, parameters.get(HEAD_WEIGHT), context);
    },
  };
}
