import { invariant } from '../../base/errors.js';
import type { Codec } from '../../comm/codec/codec.js';
import { addDecoded, createCodec, decode, encoded, largestMagnitude } from '../../comm/codec.js';
import { chunksOf } from '../../comm/compressed-reductions.js';
import type { ActiveCompression } from '../../comm/config.js';
import { singleRank } from '../../launch/environment.js';
import { planFlatLayout } from '../../nn/flat-layout.js';
import type { FlatParameters } from '../../nn/flat-parameters.js';
import { runStep } from '../../step/run-step.js';
import { noGrad } from '../../tensor/autograd.js';
import { zeros } from '../../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../../tensor/tensor.js';
import { scaledForMemory } from '../../zero/compress-reductions.js';
import { toDevice } from '../batch.js';
import { compileStep, defaultSequenceLength } from '../compile-step.js';
import { loadConfig } from '../config.js';
import { openMemory } from '../initialize.js';
import { openModel } from '../model-source.js';
import { openTrainingData } from '../training-data.js';
import { joinWorld } from '../world.js';

/** How far a compressed sum of gradients is from the exact one. */
export interface CompressionError {
  readonly scheme: string;
  /** What `communication.compression` is set to for it. */
  readonly setting: string;
  /** Norm of the error / norm of the sum; not finite where the compressed sum is not. */
  readonly relative_l2: number;
  /** Largest error of one element / largest element of the sum. */
  readonly relative_max: number;
}

/** By the names of the table. */
const SCHEMES: Readonly<Record<string, ActiveCompression>> = {
  fp16: { type: 'fp16' },
  'fp16-static 2^16': { type: 'fp16-static', scale: 2 ** 16 },
  'fp16-static 2^24': { type: 'fp16-static', scale: 2 ** 24 },
  'fp16-dynamic': { type: 'fp16-dynamic' },
  bf16: { type: 'bf16' },
  int8: { type: 'int8', block_size: 128 },
  int4: { type: 'int4', block_size: 32 },
  'int4, blocks of 128': { type: 'int4', block_size: 128 },
  'one-bit': { type: 'one-bit' },
};

/** The number of ranks whose gradients are summed. */
const RANKS = 2;

/**
 * Sums the gradients that two ranks would have at the first batch of a run, as each scheme would.
 *
 * @param configPath a configuration for one rank, whose batch is one micro-batch
 * @throws TrainyardError as training would
 */
export async function measureCompression(
  configPath: string,
  overrides: readonly string[],
): Promise<readonly CompressionError[]> {
  const { gradients, sequenceLength } = await gradientsOfRanks(configPath, overrides);
  const errors = scope(() => {
    const exact = zeros([gradients[0]?.elements ?? 0], { dtype: 'float64' });
    for (const part of gradients) exact.add_(part);
    return Object.entries(SCHEMES).map(([scheme, compression]) => {
      const codec = createCodec(scaledForMemory(compression, sequenceLength));
      const { type, ...options } = compression;
      const setting = Object.keys(options).length === 0 ? type : JSON.stringify(compression);
      return { scheme, setting, ...scope(() => errorOf(sumCompressed(gradients, codec), exact)) };
    });
  });
  for (const part of gradients) part.dispose();
  return errors;
}

/**
 * What compressed reductions are by definition, without ranks and stages: encode the chunks of every part, add up in
 * fp32 in the order of parts, encode the sum, decode it.
 *
 * @param parts flat fp32 tensors of one length
 */
export function sumCompressed(parts: readonly Tensor[], codec: Codec): Tensor {
  const maximum = codec.usesMaximum ? Math.max(...parts.map(largestMagnitude)) : 0;
  const [coder, sumCoder] = [codec.coder(maximum), codec.coder(maximum * parts.length)];
  return scope(() => {
    const sum = zeros([parts[0]?.elements ?? 0]);
    for (const part of parts) {
      for (const [index, chunk] of chunksOf(part, parts.length).entries()) {
        const target = chunksOf(sum, parts.length)[index];
        invariant(target, 'parts of one length have equal chunks');
        addDecoded(encoded(chunk, codec, coder), target, coder);
      }
    }
    for (const chunk of chunksOf(sum, parts.length)) decode(encoded(chunk, codec, sumCoder), chunk, sumCoder);
    return sum;
  });
}

function errorOf(sum: Tensor, exact: Tensor) {
  const error = sum.to('float64').sub(exact);
  return {
    relative_l2: error.vectorNorm().item() / exact.vectorNorm().item(),
    relative_max: largestMagnitude(error) / largestMagnitude(exact),
  };
}

/** Each rank's gradients of its part of the first global batch, as they are before a reduction. */
async function gradientsOfRanks(configPath: string, overrides: readonly string[]) {
  const { config } = loadConfig(configPath, overrides, { requires: ['model', 'data'] });
  const source = openModel(config);
  const { model } = source;
  const world = joinWorld(config, singleRank());
  const { device } = world;
  const layout = planFlatLayout(model.blocks);
  const { seed } = config;
  const length = config.data.sequence_length ?? defaultSequenceLength(model);
  const memory = openMemory({
    source,
    layout,
    sharding: undefined,
    world,
    dtype: 'float32',
    seed,
    sequenceLength: length,
  });
  const gradients: Tensor[] = [];
  let sequenceLength = 0;
  for (let rank = 0; rank < RANKS; rank += 1) {
    const { batches } = await openTrainingData(config, source, { rank, worldSize: RANKS });
    sequenceLength = batches.sequenceLength;
    const step = { config, model, layout, goal: 'gradients', sequenceLength } as const;
    const inputs = {
      nextBatch: (micro: number) => toDevice(batches.microBatch(0, micro), device),
      lossScale: 1 / (RANKS * config.train_batch_size),
      training: false,
    };
    runStep(compileStep(step).program(0), { blocks: model.blocks, ...memory.resources }, inputs, { step: 1 });
    gradients.push(keepCopy(memory.parameters));
  }
  memory.dispose();
  return { gradients, sequenceLength };
}

function keepCopy({ gradients }: FlatParameters): Tensor {
  invariant(gradients, 'parameters to measure have gradients');
  return keep(noGrad(() => gradients.values.clone()));
}
