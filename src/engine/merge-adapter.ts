import { invariant } from '../base/errors.js';
import { mergeWeight } from '../models/lora/merge-weight.js';
import { configToSave } from '../models/registry.js';
import { MappedTensors } from '../store/hugging-face/mapped-tensors.js';
import { saveModelFolder } from '../store/hugging-face/save-model-folder.js';
import type { TensorSource } from '../store/safetensors/write.js';
import { noGrad } from '../tensor/autograd.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { openAdaptedFolder } from './adapted-folder.js';
import { adaptedNames, peftName } from './adapter-source.js';
import { storedParameters } from './fill-parameters.js';
import { tensorOf } from './stored-tensor.js';

export interface MergeOptions {
  /** A folder in PEFT's layout. */
  readonly adapterPath: string;
  /** The model's folder; left out: the one that the adapter names. */
  readonly modelPath?: string | undefined;
  readonly output: string;
}

/**
 * Adds an adapter to the weights of its model and writes a plain Hugging Face folder, in the model's own element
 * types (PEFT: `merge_and_unload`). One tensor is in memory at a time.
 *
 * @returns how many weights the adapter has changed
 * @throws TrainyardError USAGE, MODEL_UNREADABLE, MODEL_UNSUPPORTED, SAFETENSORS_INVALID, OUTPUT_UNWRITABLE
 */
export function mergeAdapter({ adapterPath, modelPath, output }: MergeOptions): number {
  const { folder, adapter } = openAdaptedFolder(adapterPath, modelPath);
  const weights = adapter?.weights;
  invariant(folder && adapter && weights, 'an adapter folder has a model and matrices');
  const { base, layers, options } = adapter;
  const adapted = layers.map((layer) => ({ storage: layer.storage, ...adaptedNames(base, layer) }));
  const layerOf = new Map(adapted.map((layer) => [layer.weight, layer]));
  const stored = new MappedTensors(folder);
  const matrix = (name: string): Tensor => tensorOf(weights.read(peftName(name))).to('float32');
  const merged = (name: string, storedName: string): Tensor => {
    const weight = stored.tensor(storedName);
    const layer = layerOf.get(name);
    if (layer === undefined) return weight;
    const update = { down: matrix(layer.down), up: matrix(layer.up), scale: options.alpha / options.rank };
    return mergeWeight(weight.to('float32'), layer.storage, update).to(weight.dtype);
  };
  const tensors = [...storedParameters(folder, base)].map(([name, storedName]): TensorSource => {
    const { dtype, shape } = folder.placeOf(storedName);
    return {
      name,
      dtype,
      shape,
      write: (target) => noGrad(() => scope(() => merged(name, storedName).copyToBytes(target))),
    };
  });
  const dtype = tensors[0]?.dtype ?? 'float32';
  saveModelFolder(output, {
    config: configToSave(base, dtype),
    tensors,
    companionFiles: folder.companionFiles,
  });
  stored.close();
  return layers.length;
}
