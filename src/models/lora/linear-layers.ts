import { TrainyardError } from '../../base/errors.js';
import { nearestNames } from '../../base/nearest-names.js';
import { AdaptedBlock, type AdapterOptions, moduleName } from '../../nn/adapted-block.js';
import type { Model } from '../../nn/block.js';
import { fullName } from '../../nn/flat-layout.js';
import type { LinearStorage } from '../../nn/parameter.js';

/** Which layers get an adapter, as PEFT's `target_modules`: names, or every linear layer but the head. */
export type AdapterTargets = 'all-linear' | readonly string[];

/** A linear layer to which an adapter can be added. */
export interface LinearLayer {
  /** Its full name, as PEFT writes it: "model.layers.0.self_attn.q_proj". */
  readonly module: string;
  /** Index of its block, and the name of its weight there. */
  readonly block: number;
  readonly weight: string;
  readonly storage: LinearStorage;
}

/** The linear layers of a model, in order. The head is none of them, as in PEFT. */
export function linearLayers(model: Model): readonly LinearLayer[] {
  return model.blocks.flatMap((block, index) =>
    block.parameters.flatMap(({ name, linear }) =>
      linear === undefined
        ? []
        : [{ module: moduleName(fullName(block, name)), block: index, weight: name, storage: linear }],
    ),
  );
}

/**
 * The layers that targets name: by their full names or by the end of them, as in PEFT.
 *
 * @throws TrainyardError CONFIG_INVALID for a target that names none, with those that there are
 */
export function matchTargets(
  layers: readonly LinearLayer[],
  targets: AdapterTargets,
): readonly LinearLayer[] {
  if (targets === 'all-linear') return layers;
  const unmatched = targets.filter((target) => !layers.some(({ module }) => isNamed(module, target)));
  if (unmatched.length > 0) throw noSuchTargets(layers, unmatched);
  return layers.filter(({ module }) => targets.some((target) => isNamed(module, target)));
}

/**
 * The shortest `target_modules` that name these layers and no others: the last parts of their names where that is
 * enough, or else their full names.
 */
export function targetsNaming(
  layers: readonly LinearLayer[],
  chosen: readonly LinearLayer[],
): readonly string[] {
  const ends = [...new Set(chosen.map(({ module }) => lastPart(module)))];
  const named = layers.filter(({ module }) => ends.some((end) => isNamed(module, end)));
  return named.length === chosen.length ? ends : chosen.map(({ module }) => module);
}

/** The model with everything frozen but new adapters on these layers. */
export function adaptModel(model: Model, chosen: readonly LinearLayer[], options: AdapterOptions): Model {
  return {
    ...model,
    blocks: model.blocks.map((block, index) => {
      const weights = chosen.filter((layer) => layer.block === index).map(({ weight }) => weight);
      return new AdaptedBlock(block, new Set(weights), options);
    }),
  };
}

function isNamed(module: string, target: string): boolean {
  return module === target || module.endsWith(`.${target}`);
}

function lastPart(module: string): string {
  return module.slice(module.lastIndexOf('.') + 1);
}

function noSuchTargets(layers: readonly LinearLayer[], unmatched: readonly string[]): TrainyardError {
  const candidates = [...new Set(layers.map(({ module }) => lastPart(module)))];
  const near = unmatched.flatMap((target) => nearestNames(target, candidates, 1));
  return new TrainyardError('CONFIG_INVALID', {
    what: 'An adapter target is no linear layer of the model.',
    where: 'adapter.targets',
    expected:
      candidates.length === 0
        ? 'a model with linear layers'
        : `some of ${candidates.join(', ')}, or "all-linear"`,
    got: unmatched.map((target) => JSON.stringify(target)).join(', '),
    ...(near.length > 0 && { cure: `Did you mean ${near.join(', ')}?` }),
  });
}
