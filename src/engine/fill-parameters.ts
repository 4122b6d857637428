import { createHash } from 'node:crypto';
import { isDerivedWeight, storedNames } from '../models/registry.js';
import type { Model } from '../nn/block.js';
import { fullName } from '../nn/flat-layout.js';
import type { Initializer } from '../nn/parameter.js';
import type { AdapterFolder } from '../store/hugging-face/adapter-folder.js';
import { MappedTensors } from '../store/hugging-face/mapped-tensors.js';
import { matchTensors } from '../store/hugging-face/match-tensors.js';
import type { ModelFolder } from '../store/hugging-face/model-folder.js';
import { noGrad } from '../tensor/autograd.js';
import { empty, full } from '../tensor/generated/functions.js';
import { manualSeed } from '../tensor/random.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { peftName } from './adapter-source.js';
import type { ModelSource } from './model-source.js';
import { tensorOf } from './stored-tensor.js';

/** Gives a parameter its values: the whole of it is offered, and whoever holds only a part takes that. */
export type ParameterWriter = (name: string, value: Tensor) => void;

/** Which parameters are wanted, by name. */
export type Wanted = (name: string) => boolean;

/** Where first values come from and where they go. */
export interface FirstValues {
  readonly source: ModelSource;
  readonly seed: number;
  readonly write: ParameterWriter;
  readonly wanted: Wanted;
}

/** Gives the wanted parameters their first values: the weights of the model's folder, or random ones. */
export function fillParameters({ source, seed, write, wanted }: FirstValues): void {
  const { model, folder, adapter } = source;
  const base = adapter?.base ?? model;
  if (folder === undefined) initializeParameters(base, write, seed, wanted);
  else loadParameters(folder, base, write, wanted);
  if (adapter === undefined) return;
  const isBase = new Set(
    base.blocks.flatMap((block) => block.parameters.map(({ name }) => fullName(block, name))),
  );
  const isAdapter: Wanted = (name) => !isBase.has(name) && wanted(name);
  if (adapter.weights === undefined) initializeParameters(model, write, seed, isAdapter);
  else loadAdapter(adapter.weights, model, write, isAdapter);
}

/**
 * Draws every parameter from its own stream of random numbers, which depends on the seed and the parameter's
 * name alone: the same weights for every world size and layout, and on every device. One parameter at a time is
 * in memory.
 */
function initializeParameters(model: Model, write: ParameterWriter, seed: number, wanted: Wanted): void {
  for (const block of model.blocks) {
    for (const { name, shape, initializer, tiedTo } of block.parameters) {
      const parameter = fullName(block, name);
      if (tiedTo !== undefined || !wanted(parameter)) continue;
      manualSeed(streamSeed(seed, parameter));
      noGrad(() => scope(() => write(parameter, initialize(shape, initializer))));
    }
  }
}

function initialize(shape: readonly number[], initializer: Initializer): Tensor {
  switch (initializer.kind) {
    case 'constant':
      return full(shape, initializer.value);
    case 'uniform':
      return empty(shape).uniform_(-initializer.bound, initializer.bound);
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
export function loadParameters(
  folder: ModelFolder,
  model: Model,
  write: ParameterWriter,
  wanted: Wanted = () => true,
): void {
  const stored = storedParameters(folder, model);
  const tensors = new MappedTensors(folder);
  for (const [name, storedName] of stored) {
    if (wanted(name)) noGrad(() => scope(() => write(name, tensors.tensor(storedName))));
  }
  tensors.close();
}

/** Copies the matrices of an adapter that fits the model. */
export function loadAdapter(
  folder: AdapterFolder,
  model: Model,
  write: ParameterWriter,
  wanted: Wanted,
): void {
  const names = model.blocks.flatMap((block) => block.parameters.map(({ name }) => fullName(block, name)));
  for (const name of names.filter(wanted)) {
    noGrad(() => scope(() => write(name, tensorOf(folder.read(peftName(name))))));
  }
}

/**
 * The stored name of each parameter that has memory of its own.
 *
 * @throws TrainyardError MODEL_UNREADABLE when the weights do not fit the model.
 */
export function storedParameters(folder: ModelFolder, model: Model): ReadonlyMap<string, string> {
  const parameters = model.blocks.flatMap((block) =>
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
  const stored = matchTensors(folder, parameters, (name) => isDerivedWeight(model, name));
  const owners = parameters.filter(({ tiedTo }) => tiedTo === undefined);
  return new Map(owners.map(({ name }) => [name, stored.get(name) ?? name]));
}
