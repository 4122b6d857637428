import { createHash } from 'node:crypto';
import { isDerivedWeight, storedNames } from '../models/registry.js';
import type { Model } from '../nn/block.js';
import { fullName } from '../nn/flat-layout.js';
import type { Initializer } from '../nn/parameter.js';
import { matchTensors } from '../store/hugging-face/match-tensors.js';
import type { ModelFolder, StoredTensor } from '../store/hugging-face/model-folder.js';
import { noGrad } from '../tensor/autograd.js';
import { fromBytes, viewBytes } from '../tensor/create.js';
import { DTYPES } from '../tensor/dtype.js';
import { empty, full } from '../tensor/generated/functions.js';
import { manualSeed } from '../tensor/random.js';
import { scope, type Tensor } from '../tensor/tensor.js';

/** Gives a parameter its values: the whole of it is offered, and whoever holds only a part takes that. */
export type ParameterWriter = (name: string, value: Tensor) => void;

/**
 * Draws every parameter from its own stream of random numbers, which depends on the seed and the parameter's
 * name alone: the same weights for every world size and layout, and on every device. One parameter at a time is
 * in memory.
 */
export function initializeParameters(model: Model, write: ParameterWriter, seed: number): void {
  for (const block of model.blocks) {
    for (const { name, shape, initializer, tiedTo } of block.parameters) {
      if (tiedTo !== undefined) continue;
      const parameter = fullName(block, name);
      manualSeed(streamSeed(seed, parameter));
      noGrad(() => scope(() => write(parameter, initialize(shape, initializer))));
    }
  }
}

function initialize(shape: readonly number[], initializer: Initializer): Tensor {
  switch (initializer.kind) {
    case 'constant':
      return full(shape, initializer.value);
    case 'normal': {
      const value = empty(shape).normal_(initializer.mean, initializer.std);
      if (initializer.zeroRow !== undefined) value.select(0, initializer.zeroRow).zero_();
      return value;
    }
    default:
      return initializer satisfies never;
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
export function loadParameters(folder: ModelFolder, model: Model, write: ParameterWriter): void {
  const wanted = model.blocks.flatMap((block) =>
    block.parameters.map(({ name, shape, tiedTo }) => {
      const parameter = fullName(block, name);
      return {
        name: parameter,
        shape,
        storedNames: storedNames(model, parameter),
        ...(tiedTo && { tiedTo }),
      };
    }),
  );
  const stored = matchTensors(folder, wanted, (name) => isDerivedWeight(model, name));
  for (const { name, tiedTo } of wanted) {
    if (tiedTo !== undefined) continue;
    noGrad(() => scope(() => write(name, asTensor(folder.read(stored.get(name) ?? name)))));
  }
}

/** Over the file's own pages where the alignment allows it. */
function asTensor({ bytes, shape, dtype }: StoredTensor): Tensor {
  const isAligned = bytes.byteOffset % DTYPES[dtype].bytes === 0;
  return isAligned ? viewBytes(bytes, shape, dtype) : fromBytes(bytes, shape, dtype);
}
