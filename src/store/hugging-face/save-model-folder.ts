import { join } from 'node:path';
import { reportingWriteErrors } from '../durable.js';
import { type FileSystem, nodeFileSystem } from '../file-system.js';
import { byteLengthOf, createSafetensors, type TensorSource } from '../safetensors/write.js';
import { generationConfigOf, inBothForms, type RawConfig } from './config-forms.js';
import { CONFIG_FILE, GENERATION_FILE, INDEX_FILE, SINGLE_FILE, shardName } from './file-names.js';
import { publishModel } from './publish.js';
import { type CompanionFiles, writeCompanions, writeJson } from './write-files.js';

/** What a model folder is made of. */
export interface ModelToSave {
  readonly config: RawConfig;
  /** Tied weights are given once. */
  readonly tensors: Iterable<TensorSource>;
  readonly companionFiles?: CompanionFiles;
  /** No weight file becomes larger, unless a single tensor is. Default 5 GB. */
  readonly maximumShardBytes?: number;
}

const MAXIMUM_SHARD_BYTES = 5_000_000_000;

/**
 * Writes a model in Hugging Face's layout, which transformers 4 and 5 load. A model that is there already
 * stays until the new one is complete; other files in the folder are left alone.
 *
 * @throws TrainyardError OUTPUT_UNWRITABLE; MODEL_UNREADABLE for a companion file that cannot be read
 */
export function saveModelFolder(
  folder: string,
  model: ModelToSave,
  fileSystem: FileSystem = nodeFileSystem,
): void {
  const companions = model.companionFiles ?? new Map();
  reportingWriteErrors('The model', folder, () => {
    publishModel(fileSystem, folder, (staging) => {
      writeWeights(fileSystem, staging, model.tensors, model.maximumShardBytes ?? MAXIMUM_SHARD_BYTES);
      writeJson(fileSystem, join(staging, CONFIG_FILE), sortedByKey(inBothForms(model.config)));
      writeCompanions(fileSystem, staging, companions);
      if (companions.has(GENERATION_FILE)) return;
      writeJson(fileSystem, join(staging, GENERATION_FILE), generationConfigOf(model.config));
    });
  });
}

function writeWeights(
  fileSystem: FileSystem,
  folder: string,
  tensors: Iterable<TensorSource>,
  maximumBytes: number,
): void {
  const shards = divide(tensors, maximumBytes);
  const only = shards.length <= 1 ? (shards[0] ?? []) : undefined;
  if (only !== undefined) {
    createSafetensors(fileSystem, join(folder, SINGLE_FILE), only);
    return;
  }
  const weightMap = new Map<string, string>();
  let totalSize = 0;
  for (const [index, shard] of shards.entries()) {
    const name = shardName(index + 1, shards.length);
    createSafetensors(fileSystem, join(folder, name), shard);
    for (const tensor of shard) {
      weightMap.set(tensor.name, name);
      totalSize += byteLengthOf(tensor);
    }
  }
  writeJson(fileSystem, join(folder, INDEX_FILE), {
    metadata: { total_size: totalSize },
    weight_map: Object.fromEntries([...weightMap].sort(([left], [right]) => (left < right ? -1 : 1))),
  });
}

/** Fills one file after the other, in the order given. */
function divide(tensors: Iterable<TensorSource>, maximumBytes: number): readonly TensorSource[][] {
  const shards: TensorSource[][] = [];
  let room = 0;
  for (const tensor of tensors) {
    const size = byteLengthOf(tensor);
    if (shards.length === 0 || size > room) {
      shards.push([]);
      room = maximumBytes;
    }
    shards.at(-1)?.push(tensor);
    room -= size;
  }
  return shards;
}

function sortedByKey(config: RawConfig): RawConfig {
  return Object.fromEntries(Object.entries(config).sort(([left], [right]) => (left < right ? -1 : 1)));
}
