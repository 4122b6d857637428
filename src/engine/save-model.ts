import type { ProcessGroup } from '../comm/process-group.js';
import type { Tokenizer } from '../data/tokenizer.js';
import { mergeWeight } from '../models/lora/merge-weight.js';
import { peftConfigOf } from '../models/lora/peft-config.js';
import { configToSave } from '../models/registry.js';
import { saveAdapterFolder } from '../store/hugging-face/save-adapter-folder.js';
import { saveModelFolder } from '../store/hugging-face/save-model-folder.js';
import { noGrad } from '../tensor/autograd.js';
import type { Tensor } from '../tensor/tensor.js';
import { type AdapterSource, adaptedNames, peftName } from './adapter-source.js';
import { type CollectiveTensor, collectTensors } from './collect-tensors.js';
import type { ModelSource } from './model-source.js';
import { withTokenizer } from './saved-tokenizer.js';
import type { TrainingMemory } from './training-memory.js';

/** A model that was trained, and where it is. */
export interface TrainedModel {
  readonly source: ModelSource;
  readonly memory: TrainingMemory;
  readonly group: ProcessGroup;
  readonly tokenizer?: Tokenizer | undefined;
}

/**
 * Writes the model as a Hugging Face folder: weights in the dtype that blocks compute with, tied ones once, with
 * the tokenizer that it was trained with, or else the one that came with it. Of a model with an adapter the adapter
 * alone in PEFT's layout, or the model with it merged. Every rank must call it; rank 0 writes, and has no more than
 * one parameter whole at a time.
 *
 * @throws TrainyardError OUTPUT_UNWRITABLE.
 */
export function saveModel(directory: string, trained: TrainedModel): void {
  const { source, memory, group } = trained;
  const { adapter } = source;
  const { dtype } = memory.parameters.values;
  const slots = memory.slots.map((slot) => ({
    name: slot.name,
    shape: slot.shape,
    trainable: slot.trainable,
  }));
  const tensorOf = ({ name, shape }: { name: string; shape: readonly number[] }): CollectiveTensor => ({
    name,
    dtype,
    shape,
    read: () => memory.read(memory.slot(name)).to(dtype),
  });
  const { config, companionFiles } = withTokenizer(
    configToSave(source.model, dtype),
    trained.tokenizer,
    source.folder,
  );
  if (adapter === undefined || adapter.merge) {
    const tensors =
      adapter === undefined ? slots.map(tensorOf) : mergedTensors(adapter, slots.map(tensorOf), memory);
    collectTensors(group, tensors, (sources) =>
      saveModelFolder(directory, { config, tensors: sources, companionFiles }),
    );
    return;
  }
  const tensors = slots
    .filter(({ trainable }) => trainable)
    .map((slot) => ({ ...tensorOf(slot), name: peftName(slot.name) }));
  const peftConfig = peftConfigOf({
    options: adapter.options,
    targets: adapter.targets,
    base: source.folder?.path ?? null,
    isTransposed: adapter.layers.some(({ storage }) => storage === 'inputs × outputs'),
  });
  collectTensors(group, tensors, (sources) =>
    saveAdapterFolder(directory, { config: peftConfig, tensors: sources, companionFiles }),
  );
}

/** The base's tensors, each with what an adapter adds to it. */
function mergedTensors(
  { base, layers, options }: AdapterSource,
  tensors: readonly CollectiveTensor[],
  memory: TrainingMemory,
): readonly CollectiveTensor[] {
  const adapted = layers.map((layer) => ({ storage: layer.storage, ...adaptedNames(base, layer) }));
  const layerOf = new Map(adapted.map((layer) => [layer.weight, layer]));
  const matrices = new Set(adapted.flatMap(({ down, up }) => [down, up]));
  const scale = options.alpha / options.rank;
  return tensors
    .filter(({ name }) => !matrices.has(name))
    .map((tensor) => {
      const layer = layerOf.get(tensor.name);
      if (layer === undefined) return tensor;
      const matrix = (name: string): Tensor => memory.read(memory.slot(name));
      return {
        ...tensor,
        read: () =>
          noGrad(() => {
            const update = { down: matrix(layer.down), up: matrix(layer.up), scale };
            return mergeWeight(tensor.read(), layer.storage, update);
          }),
      };
    });
}
