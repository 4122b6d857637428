import type { ProcessGroup } from '../comm/process-group.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { configToSave } from '../models/registry.js';
import { saveModelFolder } from '../store/hugging-face/save-model-folder.js';
import { collectTensors } from './collect-tensors.js';
import type { ModelSource } from './model-source.js';
import { withTokenizer } from './saved-tokenizer.js';
import type { TrainingMemory } from './training-memory.js';

/**
 * Writes the model as a Hugging Face folder: weights in the dtype that blocks compute with, tied ones once, with
 * the tokenizer that it was trained with, or else the one that came with it. Every rank must call it; rank 0 writes,
 * and has no more than one parameter whole at a time.
 *
 * @throws TrainyardError OUTPUT_UNWRITABLE.
 */
export function saveModel(
  directory: string,
  source: ModelSource,
  memory: TrainingMemory,
  group: ProcessGroup,
  tokenizer?: Tokenizer,
): void {
  const { dtype } = memory.parameters.values;
  const written = configToSave(source.model, dtype);
  const { config, companionFiles } = withTokenizer(written, tokenizer, source.folder);
  const tensors = memory.slots.map((slot) => ({
    name: slot.name,
    dtype,
    shape: slot.shape,
    read: () => memory.read(slot).to(dtype),
  }));
  collectTensors(group, tensors, (sources) =>
    saveModelFolder(directory, { config, tensors: sources, companionFiles }),
  );
}
