import { resolve } from 'node:path';
import { TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';
import type { AdapterConfig, ModelConfig } from '../models/config.js';
import { modelFromConfig } from '../models/registry.js';
import type { Model } from '../nn/block.js';
import { splitBlocks } from '../nn/split-blocks.js';
import { granularityOf, type RecomputePolicy } from '../recompute/config.js';
import { type ModelFolder, openModelFolder } from '../store/hugging-face/model-folder.js';
import { type AdapterSource, openAdapter } from './adapter-source.js';

/** A model as a run begins with it: its blocks, and its weights if it has any. */
export interface ModelSource {
  readonly model: Model;
  /** Absent for a model described in place, which starts from random weights. */
  readonly folder?: ModelFolder;
  /** Where an adapter is trained: `model` has it. */
  readonly adapter?: AdapterSource;
}

/** The keys of a configuration that say how a model is trained. */
export interface TrainingForm {
  readonly adapter?: AdapterConfig | undefined;
  readonly recompute?: RecomputePolicy | undefined;
}

/** The keys of a configuration that say what is trained. */
export interface ModelChoice extends TrainingForm {
  readonly model: ModelConfig;
}

/**
 * Opens what the `model` key names, in the form that it is trained in. Nothing is allocated, and no weight is read.
 *
 * @throws TrainyardError MODEL_UNREADABLE, MODEL_UNSUPPORTED, SAFETENSORS_INVALID, CONFIG_INVALID, and as `inForm`
 */
export function openModel({ model, ...form }: ModelChoice, baseDirectory = process.cwd()): ModelSource {
  return inForm(openBase(model, baseDirectory), form, baseDirectory);
}

/**
 * The same source in the form that it is trained in: layers in halves, an adapter on it.
 *
 * @throws TrainyardError CONFIG_CONFLICT for halves of a model without any, MODEL_INVALID for halves that are not
 * their block; for an adapter as `openAdapter`
 */
export function inForm(
  source: ModelSource,
  { adapter, recompute }: TrainingForm,
  baseDirectory = process.cwd(),
): ModelSource {
  const model = granularityOf(recompute) === 'half' ? inHalves(source.model) : source.model;
  return { ...source, model, ...(adapter && openAdapter(model, adapter, baseDirectory)) };
}

function inHalves(model: Model): Model {
  if (model.blocks.some(({ halves }) => halves !== undefined)) return splitBlocks(model);
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: 'recompute.granularity "half" has no effect: no block of the model has halves.',
    where: 'recompute.granularity',
    expected: 'blocks that have `halves`, as the layers of every model that a configuration can name',
    got: `the model ${quote(model.architecture)} of ${model.blocks.length} blocks without`,
    cure: 'Remove the key, or make layers of two blocks by nn.BlockOfHalves.',
  });
}

function openBase(config: ModelConfig, baseDirectory: string): ModelSource {
  if (typeof config !== 'string') return { model: modelFromConfig(config) };
  const folder = openModelFolder(resolve(baseDirectory, config));
  return { model: modelFromConfig(folder.config, `${config}/config.json`), folder };
}
