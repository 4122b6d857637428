/**
 * Files: safetensors and Hugging Face folders, read with distrust and written so that no crash loses one.
 *
 * @module
 */

export { aioSchema } from './config.js';
export { measureFile } from './direct-files/measure-file.js';
export { openDirectFolder } from './direct-files/open-folder.js';
export { matchTensors, type WantedTensor } from './hugging-face/match-tensors.js';
export { ModelFolder, openModelFolder, type StoredTensor } from './hugging-face/model-folder.js';
export { type ModelToSave, saveModelFolder } from './hugging-face/save-model-folder.js';
export type { TensorEntry } from './safetensors/tensor-entry.js';
export {
  type TensorContent,
  type TensorDescription,
  type TensorSource,
  writeSafetensors,
} from './safetensors/write.js';
export { openSafetensors, SafetensorsFile } from './safetensors.js';
