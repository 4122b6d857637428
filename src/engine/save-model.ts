import type { Tokenizer } from '../data/tokenizer.js';
import { configToSave } from '../models/registry.js';
import type { FlatParameters } from '../nn/flat-parameters.js';
import { saveModelFolder } from '../store/hugging-face/save-model-folder.js';
import type { TensorSource } from '../store/safetensors/write.js';
import type { ModelSource } from './model-source.js';

/**
 * Writes the model as a Hugging Face folder: weights as they are in memory, tied ones once, with the
 * tokenizer that it was trained with, or else the one that came with it.
 *
 * @throws TrainyardError OUTPUT_UNWRITABLE.
 */
export function saveModel(
  directory: string,
  source: ModelSource,
  parameters: FlatParameters,
  tokenizer?: Tokenizer,
): void {
  const inherited = source.folder?.companionFiles ?? [];
  const own = [...(tokenizer?.files ?? [])].map(([name, text]) => [name, Buffer.from(text)] as const);
  saveModelFolder(directory, {
    config: configToSave(source.config),
    tensors: tensorSources(parameters),
    companionFiles: new Map<string, string | Uint8Array>([...inherited, ...own]),
  });
}

function* tensorSources(parameters: FlatParameters): Generator<TensorSource> {
  for (const { name, value } of parameters.parameters) {
    yield {
      name,
      dtype: value.dtype,
      shape: value.shape,
      write: (target) => value.copyToBytes(target),
    };
  }
}
