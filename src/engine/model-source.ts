import { resolve } from 'node:path';
import type { AdapterConfig, ModelConfig } from '../models/config.js';
import { modelFromConfig } from '../models/registry.js';
import type { Model } from '../nn/block.js';
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

/** The keys of a configuration that say what is trained. */
export interface ModelChoice {
  readonly model: ModelConfig;
  readonly adapter?: AdapterConfig | undefined;
}

/**
 * Opens what the `model` and `adapter` keys name. Nothing is allocated, and no weight is read.
 *
 * @throws TrainyardError MODEL_UNREADABLE, MODEL_UNSUPPORTED, SAFETENSORS_INVALID, CONFIG_INVALID.
 */
export function openModel({ model, adapter }: ModelChoice, baseDirectory = process.cwd()): ModelSource {
  return withAdapter(openBase(model, baseDirectory), adapter, baseDirectory);
}

/** The same source, with an adapter where one is asked for. */
export function withAdapter(
  source: ModelSource,
  config: AdapterConfig | undefined,
  baseDirectory = process.cwd(),
): ModelSource {
  return config === undefined ? source : { ...source, ...openAdapter(source.model, config, baseDirectory) };
}

function openBase(config: ModelConfig, baseDirectory: string): ModelSource {
  if (typeof config !== 'string') return { model: modelFromConfig(config) };
  const folder = openModelFolder(resolve(baseDirectory, config));
  return { model: modelFromConfig(folder.config, `${config}/config.json`), folder };
}
