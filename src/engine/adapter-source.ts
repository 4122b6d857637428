import { resolve } from 'node:path';
import { invariant, TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';
import type { AdapterConfig } from '../models/config.js';
import {
  adaptModel,
  type LinearLayer,
  linearLayers,
  matchTargets,
  targetsNaming,
} from '../models/lora/linear-layers.js';
import { readPeftConfig } from '../models/lora/peft-config.js';
import { type AdapterOptions, downName, upName } from '../nn/adapted-block.js';
import type { Model } from '../nn/block.js';
import { fullName } from '../nn/flat-layout.js';
import { type AdapterFolder, openAdapterFolder } from '../store/hugging-face/adapter-folder.js';

/** An adapter as a run begins with it. */
export interface AdapterSource {
  /** The model without it. */
  readonly base: Model;
  /** The layers that it changes. */
  readonly layers: readonly LinearLayer[];
  /** The shortest names of those layers, PEFT's `target_modules`. */
  readonly targets: readonly string[];
  readonly options: AdapterOptions;
  /** Its first values; absent: random ones, with which the model is as without it. */
  readonly weights?: AdapterFolder;
  /** Whether the model is saved with the adapter added to its weights, and not the adapter. */
  readonly merge: boolean;
}

const DEFAULT_RANK = 8;
const DEFAULT_ALPHA = 8;
const MOST_LISTED = 8;

/** What PEFT puts before every name. */
const PEFT_PREFIX = 'base_model.model.';

/**
 * A model with the adapter that the `adapter` key asks for. No weight is read.
 *
 * @returns the model with it, and what is known of the adapter
 * @throws TrainyardError CONFIG_INVALID for a target that is no layer; MODEL_UNREADABLE, MODEL_UNSUPPORTED,
 * SAFETENSORS_INVALID for an adapter folder that cannot be used
 */
export function openAdapter(
  base: Model,
  config: AdapterConfig,
  baseDirectory: string,
): { readonly model: Model; readonly adapter: AdapterSource } {
  const candidates = linearLayers(base);
  const weights =
    config.path === undefined ? undefined : openAdapterFolder(resolve(baseDirectory, config.path));
  const options =
    weights === undefined
      ? {
          rank: config.rank ?? DEFAULT_RANK,
          alpha: config.alpha ?? DEFAULT_ALPHA,
          dropout: config.dropout ?? 0,
        }
      : readPeftConfig(weights.config, weights.configPath);
  const layers =
    weights === undefined ? matchTargets(candidates, config.targets ?? []) : layersOf(weights, candidates);
  const model = adaptModel(base, layers, options);
  if (weights !== undefined) demandFit(weights, model);
  const targets = targetsNaming(candidates, layers);
  return {
    model,
    adapter: { base, layers, targets, options, merge: config.merge, ...(weights && { weights }) },
  };
}

/**
 * An adapter's folder for a model that has such an adapter.
 *
 * @throws TrainyardError MODEL_UNREADABLE, SAFETENSORS_INVALID, also when it does not fit
 */
export function openFittingAdapter(path: string, model: Model): AdapterFolder {
  const folder = openAdapterFolder(path);
  demandFit(folder, model);
  return folder;
}

/** The name under which PEFT stores a parameter. */
export function peftName(parameter: string): string {
  return `${PEFT_PREFIX}${parameter}`;
}

/** The full names of a layer's weight and of the matrices of its update. */
export function adaptedNames(
  base: Model,
  { block, weight }: LinearLayer,
): { readonly weight: string; readonly down: string; readonly up: string } {
  const owner = base.blocks[block];
  invariant(owner, `an adapted layer is in block ${block}, which the model does not have`);
  return {
    weight: fullName(owner, weight),
    down: fullName(owner, downName(weight)),
    up: fullName(owner, upName(weight)),
  };
}

/** The layers that a stored adapter has matrices for. */
function layersOf(folder: AdapterFolder, candidates: readonly LinearLayer[]): readonly LinearLayer[] {
  const names = new Set(folder.names);
  return candidates.filter(({ module }) => names.has(peftName(downName(module))));
}

/** Every stored matrix has its place in the model, and every place its matrix. */
function demandFit(folder: AdapterFolder, model: Model): void {
  const wanted = new Map(
    model.blocks.flatMap((block) =>
      block.parameters.flatMap(({ name, shape, frozen }) =>
        frozen === true ? [] : [[peftName(fullName(block, name)), shape] as const],
      ),
    ),
  );
  const stored = new Set(folder.names);
  const problems = [
    ...folder.names
      .filter((name) => !wanted.has(name))
      .map((name) => `holds ${quote(name)}, which has no place`),
    ...[...wanted.keys()].filter((name) => !stored.has(name)).map((name) => `lacks ${quote(name)}`),
    ...[...wanted].flatMap(([name, shape]) => {
      const found = stored.has(name) ? folder.shapeOf(name).join(', ') : shape.join(', ');
      return found === shape.join(', ')
        ? []
        : [`has ${quote(name)} as [${found}], not [${shape.join(', ')}]`];
    }),
  ];
  if (problems.length === 0 && wanted.size > 0) return;
  throw new TrainyardError('MODEL_UNREADABLE', {
    what: 'The adapter does not fit the model.',
    where: folder.path,
    expected: 'matrices lora_A and lora_B of linear layers of the model, and nothing else',
    got: problems.length === 0 ? 'none' : `an adapter that ${problems.slice(0, MOST_LISTED).join('; ')}`,
    cure: 'Give the adapter of this model, with only LoRA on linear layers.',
  });
}
