import type { Block, Model } from '../../nn/block.js';
import { embedding } from '../../nn/embedding.js';
import { rmsNorm } from '../../nn/rms-norm.js';
import { RotaryTable } from '../../nn/rotary-table.js';
import { gain, matrix } from '../declare.js';
import { declareHead, HEAD_WEIGHT, runHead } from '../head.js';
import { hiddenOf } from '../hidden.js';
import { llamaDecoderLayer } from './decoder-layer.js';
import type { LlamaConfig } from './llama-config.js';

const PREFIX = 'model';
const EMBEDDING = 'embed_tokens.weight';
const FINAL_NORM = `${PREFIX}.norm.weight`;

/**
 * The Llama family as blocks: the embedding, each decoder layer, and the final norm with head and loss. Names
 * are Hugging Face's. Any length can be run: rotary positions have no table to fall off.
 */
export function llamaModel(config: LlamaConfig): Model {
  const rotary = new RotaryTable(config.rotary);
  return {
    architecture: config.architecture,
    vocabularySize: config.vocabularySize,
    blocks: [
      embeddingBlock(config),
      ...config.windows.map((window, index) => llamaDecoderLayer(index, window, config, rotary)),
      headBlock(config),
    ],
    tables: [rotary],
    dispose: () => rotary.dispose(),
  };
}

function embeddingBlock(config: LlamaConfig): Block {
  const shape = [config.vocabularySize, config.hiddenSize] as const;
  return {
    name: PREFIX,
    parameters: [matrix(EMBEDDING, shape, config.initializerRange, config.paddingIndex)],
    forward(parameters, _input, { batch }) {
      return { hidden: embedding(parameters.get(EMBEDDING), batch.inputIds, config.paddingIndex) };
    },
  };
}

function headBlock(config: LlamaConfig): Block {
  const { vocabularySize, hiddenSize, initializerRange, tiedHead } = config;
  return {
    name: '',
    parameters: [
      gain(FINAL_NORM, hiddenSize),
      declareHead(
        vocabularySize,
        hiddenSize,
        initializerRange,
        tiedHead ? `${PREFIX}.${EMBEDDING}` : undefined,
      ),
    ],
    forward(parameters, input, context) {
      const normed = rmsNorm(hiddenOf(input), parameters.get(FINAL_NORM), config.normEpsilon);
      return runHead(normed, parameters.get(HEAD_WEIGHT), context);
    },
  };
}
