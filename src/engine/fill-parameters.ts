import { createHash } from 'node:crypto';
import { isDerivedWeight, storedNames } from '../models/registry.js';
import type { Model } from '../nn/block.js';
import { fullName } from '../nn/flat-layout.js';
import type { FlatParameters } from '../nn/flat-parameters.js';
import type { Initializer } from '../nn/parameter.js';
import { matchTensors } from '../store/hugging-face/match-tensors.js';
import type { ModelFolder, StoredTensor } from '../store/hugging-face/model-folder.js';
import { noGrad } from '../tensor/autograd.js';
import { fromBytes, viewBytes } from '../tensor/create.js';
import { DTYPES } from '../tensor/dtype.js';
import { empty } from '../tensor/generated/functions.js';
import { manualSeed } from '../tensor/random.js';
import { scope, type Tensor } from '../tensor/tensor.js';

/**
 * Draws every parameter from its own stream of random numbers, which depends on the seed and the parameter's
 * name alone: the same weights for every world size and layout, and on every device.
 */
export function initializeParameters(model: Model, parameters: FlatParameters, seed: number): void {
  for (const block of model.blocks) {
    for (const { name, initializer, tiedTo } of block.parameters) {
      if (tiedTo !== undefined) continue;
      const full = fullName(block, name);
      manualSeed(streamSeed(seed, full));
      noGrad(() => scope(() => initialize(parameters.owner(full).value, initializer)));
    }
  }
}

function initialize(value: Tensor, initializer: Initializer): void {
  switch (initializer.kind) {
    case 'constant':
      value.fill_(initializer.value);
      return;
    case 'normal':
      value.copy_(empty(value.shape).normal_(initializer.mean, initializer.std));
      if (initializer.zeroRow !== undefined) value.select(0, initializer.zeroRow).zero_();
      return;
    default:
      initializer satisfies never;
  }
}

/**
 * A seed for one purpose of a run: streams of different purposes share no numbers.
 *
 * @param purpose such as a parameter's name
 */
export function streamSeed(seed: number, purpose: string): bigint {
  return createHash('sha256').update(`${seed}\0${purpose}`).digest().readBigUInt64LE();
}

/**
 * Copies the weights of a Hugging Face folder into the parameters, converting where they are stored in another
 * element type. Reads each tensor once, from mapped memory.
 *
 * @throws TrainyardError MODEL_UNREADABLE when the weights do not fit the model.
 */
export function loadParameters(folder: ModelFolder, model: Model, parameters: FlatParameters): void {
  const wanted = model.blocks.flatMap((block) =>
    block.parameters.map(({ name, shape, tiedTo }) => {
      const full = fullName(block, name);
      return { name: full, shape, storedNames: storedNames(model, full), ...(tiedTo && { tiedTo }) };
    }),
  );
  const stored = matchTensors(folder, wanted, (name) => isDerivedWeight(model, name));
  for (const { name, value } of parameters.parameters) {
    noGrad(() => scope(() => value.copy_(asTensor(folder.read(stored.get(name) ?? name)))));
  }
}

/** Over the file's own pages where the alignment allows it. */
function asTensor({ bytes, shape, dtype }: StoredTensor): Tensor {
  const isAligned = bytes.byteOffset % DTYPES[dtype].bytes === 0;
  return isAligned ? viewBytes(bytes, shape, dtype) : fromBytes(bytes, shape, dtype);
}
