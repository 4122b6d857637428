import { resolve } from 'node:path';
import type { ModelConfig } from '../models/config.js';
import { modelFromConfig } from '../models/registry.js';
import type { Model } from '../nn/block.js';
import { type ModelFolder, openModelFolder } from '../store/hugging-face/model-folder.js';

/** A model as a run begins with it: its blocks, and its weights if it has any. */
export interface ModelSource {
  readonly model: Model;
  /** Absent for a model described in place, which starts from random weights. */
  readonly folder?: ModelFolder;
}

/**
 * Opens what the `model` key names. Nothing is allocated, and no weight is read.
 *
 * @throws TrainyardError MODEL_UNREADABLE, MODEL_UNSUPPORTED, SAFETENSORS_INVALID, CONFIG_INVALID.
 */
export function openModel(config: ModelConfig, baseDirectory = process.cwd()): ModelSource {
  if (typeof config !== 'string') return { model: modelFromConfig(config) };
  const folder = openModelFolder(resolve(baseDirectory, config));
  return { model: modelFromConfig(folder.config, `${config}/config.json`), folder };
}
