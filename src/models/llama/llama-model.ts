import type { Block, Model } from '../../nn/block.js';
import { divideDeclarations } from '../../nn/divide.js';
import { embedding } from '../../nn/embedding.js';
import { headsOfRank } from '../../nn/head-counts.js';
import { rmsNorm } from '../../nn/rms-norm.js';
import { RotaryTable } from '../../nn/rotary-table.js';
import type { TensorAxis } from '../../nn/tensor-axis.js';
import { gain, matrix } from '../declare.js';
import { declareHead, HEAD_WEIGHT, runHead } from '../head.js';
import { hiddenOf } from '../hidden.js';
import { llamaDecoderLayer } from './decoder-layer.js';
import type { LlamaConfig } from './llama-config.js';
import { llamaPlacements } from './placements.js';

const PREFIX = 'model';
const EMBEDDING = 'embed_tokens.weight';
const FINAL_NORM = `${PREFIX}.norm.weight`;

/**
 * The Llama family as blocks: the embedding, each decoder layer, and the final norm with head and loss. Names
 * are Hugging Face's. Any length can be run: rotary positions have no table to fall off.
 *
 * @param axis over which matrices are divided; left out: they are whole
 */
export function llamaModel(config: LlamaConfig, axis?: TensorAxis): Model {
  const rotary = new RotaryTable(config.rotary);
  return {
    architecture: config.architecture,
    vocabularySize: config.vocabularySize,
    blocks: [
      embeddingBlock(config, axis),
      ...config.windows.map((window, index) => llamaDecoderLayer(index, { window, config, rotary, axis })),
      headBlock(config, axis),
    ],
    attentionHeads: headsOfRank({ query: config.queryHeads, keyValue: config.keyValueHeads }, axis?.size),
    tables: [rotary],
    dispose: () => rotary.dispose(),
    divided: (ranks) => llamaModel(config, ranks),
  };
}

function embeddingBlock(config: LlamaConfig, axis: TensorAxis | undefined): Block {
  const shape = [config.vocabularySize, config.hiddenSize] as const;
  return {
    name: PREFIX,
    parameters: divideDeclarations(
      [matrix(EMBEDDING, shape, config.initializerRange, config.paddingIndex)],
      llamaPlacements(config),
      axis,
    ),
    forward(parameters, _input, { batch }) {
      return { hidden: embedding(parameters.get(EMBEDDING), batch.inputIds, config.paddingIndex) };
    },
  };
}

function headBlock(config: LlamaConfig, axis: TensorAxis | undefined): Block {
  const { vocabularySize, hiddenSize, initializerRange, tiedHead } = config;
  return {
    name: '',
    parameters: divideDeclarations(
      [
        gain(FINAL_NORM, hiddenSize),
        declareHead(
          vocabularySize,
          hiddenSize,
          initializerRange,
          tiedHead ? `${PREFIX}.${EMBEDDING}` : undefined,
        ),
      ],
      llamaPlacements(config),
      axis,
    ),
    forward(parameters, input, context) {
      const normed = rmsNorm(hiddenOf(input), parameters.get(FINAL_NORM), config.normEpsilon);
      return runHead(normed, parameters.get(HEAD_WEIGHT), context);
    },
  };
}
