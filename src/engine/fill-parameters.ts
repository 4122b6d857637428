import { createHash } from 'node:crypto';
import { isDerivedWeight, storedNames } from '../models/registry.js';
import type { Model } from '../nn/block.js';
import { fullName } from '../nn/flat-layout.js';
import type { Initializer } from '../nn/parameter.js';
import type { SavedTensor } from '../store/checkpoint.js';
import type { AdapterFolder } from '../store/hugging-face/adapter-folder.js';
import { isAligned, MappedTensors } from '../store/hugging-face/mapped-tensors.js';
import { matchTensors } from '../store/hugging-face/match-tensors.js';
import type { ModelFolder, StoredTensor } from '../store/hugging-face/model-folder.js';
import { noGrad } from '../tensor/autograd.js';
import { fromBytes, viewBytes } from '../tensor/create.js';
import { DTYPES } from '../tensor/dtype.js';
import { empty, zeros } from '../tensor/generated/functions.js';
import { manualSeed } from '../tensor/random.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { peftName } from './adapter-source.js';
import type { ModelSource } from './model-source.js';

/** Fills a flat tensor with elements of one parameter, from element `offset` on. */
export type ParameterSource = (target: Tensor, offset: number) => void;

/** Takes of a parameter what this process has memory for. */
export type ParameterWriter = (name: string, source: ParameterSource) => void;

/** Elements drawn from one stream: enough to draw fast, little beside any parameter that is worth dividing. */
const DRAWN_TOGETHER = 65_536;

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
 * Draws every parameter in runs of 65,536 elements, each from its own stream of random numbers, which depends on
 * the seed, the parameter's name and the run alone: the same weights for every world size and layout, and on
 * every device, though each rank draws little more than what it keeps.
 */
function initializeParameters(model: Model, write: ParameterWriter, seed: number, wanted: Wanted): void {
  for (const block of model.blocks) {
    for (const { name, shape, initializer, tiedTo } of block.parameters) {
      const parameter = fullName(block, name);
      if (tiedTo !== undefined || !wanted(parameter)) continue;
      noGrad(() => write(parameter, drawn(shape, initializer, `${seed}\0${parameter}`)));
    }
  }
}

function drawn(shape: readonly number[], initializer: Initializer, stream: string): ParameterSource {
  switch (initializer.kind) {
    case 'constant':
      return (target) => void target.fill_(initializer.value);
    case 'uniform': {
      const { bound } = initializer;
      return random(shape, stream, (run) => run.uniform_(-bound, bound));
    }
    case 'normal': {
      const { mean, std, zeroRow } = initializer;
      return random(shape, stream, (run) => run.normal_(mean, std), zeroRow);
    }
    default:
      return initializer satisfies never;
  }
}

/** @param zeroRow of a matrix, which stays zero */
function random(
  shape: readonly number[],
  stream: string,
  draw: (run: Tensor) => Tensor,
  zeroRow?: number,
): ParameterSource {
  const total = shape.reduce((product, size) => product * size, 1);
  return (target, offset) => {
    const end = offset + target.elements;
    for (const start of runsIn(offset, end)) {
      scope(() => {
        manualSeed(seedOf(`${stream}\0${start / DRAWN_TOGETHER}`));
        const run = draw(empty([Math.min(DRAWN_TOGETHER, total - start)]));
        copyOverlap(target, offset, run, start);
      });
    }
    if (zeroRow === undefined) return;
    const row = shape.slice(1).reduce((product, size) => product * size, 1);
    scope(() => copyOverlap(target, offset, zeros([row]), zeroRow * row));
  };
}

/** The first elements of the runs that have any of these elements. */
function runsIn(offset: number, end: number): readonly number[] {
  const first = Math.floor(offset / DRAWN_TOGETHER);
  const count = Math.ceil(end / DRAWN_TOGETHER) - first;
  return Array.from({ length: Math.max(0, count) }, (_, index) => (first + index) * DRAWN_TOGETHER);
}

/** Copies what two ranges of one parameter share; both tensors are flat. */
function copyOverlap(target: Tensor, targetStart: number, from: Tensor, fromStart: number): void {
  const start = Math.max(targetStart, fromStart);
  const length = Math.min(targetStart + target.elements, fromStart + from.elements) - start;
  if (length <= 0) return;
  target.narrow(0, start - targetStart, length).copy_(from.narrow(0, start - fromStart, length));
}

/**
 * A seed for one purpose of a run: streams of different purposes share no numbers.
 *
 * @param purpose such as a parameter's name
 */
export function streamSeed(seed: number, purpose: string): bigint {
  return seedOf(`${seed}\0${purpose}`);
}

function seedOf(stream: string): bigint {
  return createHash('sha256').update(stream).digest().readBigUInt64LE();
}

/**
 * Copies the weights of a Hugging Face folder into the parameters, converting where they are stored in another
 * element type. Of the mapped files, only what the writer has memory for is read.
 *
 * @throws TrainyardError MODEL_UNREADABLE when the weights do not fit the model.
 */
export function loadParameters(
  folder: ModelFolder,
  model: Model,
  write: ParameterWriter,
  wanted: Wanted = () => true,
): void {
  const tensors = new MappedTensors(folder);
  for (const [name, storedName] of storedParameters(folder, model)) {
    if (!wanted(name)) continue;
    const source = (): ParameterSource =>
      isAligned(folder.placeOf(storedName))
        ? partsOf(tensors.tensor(storedName))
        : storedSource(folder.read(storedName));
    noGrad(() => scope(() => write(name, source())));
  }
  tensors.close();
}

function partsOf(whole: Tensor): ParameterSource {
  return (target, offset) =>
    scope(() => void target.copy_(whole.view([-1]).narrow(0, offset, target.elements)));
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
    noGrad(() => write(name, storedSource(folder.read(peftName(name)))));
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

/** What is stored, read where it is asked for: over the file's own pages where the alignment allows it. */
function storedSource({ bytes, dtype }: Pick<StoredTensor, 'bytes' | 'dtype'>): ParameterSource {
  const { bytes: size } = DTYPES[dtype];
  const isAligned = bytes.byteOffset % size === 0;
  return (target, offset) =>
    scope(() => {
      const part = bytes.subarray(offset * size, (offset + target.elements) * size);
      const shape = [target.elements];
      target.copy_(isAligned ? viewBytes(part, shape, dtype) : fromBytes(part, shape, dtype));
    });
}

/** A tensor of a checkpoint: of its files, no more is looked at than what is asked for. */
export function savedSource({ dtype, bytes }: SavedTensor): ParameterSource {
  return (target, offset) =>
    scope(() => {
      const part = bytes(offset, target.elements);
      const isAligned = part.byteOffset % DTYPES[dtype].bytes === 0;
      const shape = [target.elements];
      target.copy_(isAligned ? viewBytes(part, shape, dtype) : fromBytes(part, shape, dtype));
    });
}
