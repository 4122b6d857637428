import { join } from 'node:path';
import { quote } from '../../base/printable.js';
import { openSafetensors, type SafetensorsFile } from '../safetensors.js';
import { INDEX_FILE, SINGLE_FILE } from './file-names.js';
import { fileInFolder, type ModelFiles, modelUnreadable } from './folder-file.js';
import { readShardIndex } from './shard-index.js';

/** Formats that run code when they are read, or that belong to other frameworks. */
const FOREIGN_WEIGHTS = [
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
  'tf_model.h5',
  'flax_model.msgpack',
  'consolidated.00.pth',
];

/**
 * Opens the weights of a model folder and says in which file each tensor is. As in transformers, one file
 * goes before several.
 *
 * @throws TrainyardError MODEL_UNREADABLE, SAFETENSORS_INVALID
 */
export function openWeightFiles(folder: ModelFiles): ReadonlyMap<string, SafetensorsFile> {
  const single = fileInFolder(folder, SINGLE_FILE);
  if (single !== undefined) return allTensorsOf(openSafetensors(single, { followLink: false }));
  const index = fileInFolder(folder, INDEX_FILE);
  if (index !== undefined) return openShards(folder, readShardIndex(index));
  const foreign = FOREIGN_WEIGHTS.find((name) => fileInFolder(folder, name) !== undefined);
  throw modelUnreadable('The model folder holds no weights that can be read.', folder.path, {
    expected: `${SINGLE_FILE} or ${INDEX_FILE}`,
    ...(foreign === undefined
      ? {}
      : {
          got: foreign,
          cure: 'Convert the weights to safetensors: files that can run code are never read.',
        }),
  });
}

function allTensorsOf(file: SafetensorsFile): ReadonlyMap<string, SafetensorsFile> {
  return new Map(file.names.map((name) => [name, file]));
}

function openShards(
  folder: ModelFiles,
  fileOf: ReadonlyMap<string, string>,
): ReadonlyMap<string, SafetensorsFile> {
  const shards = new Map<string, SafetensorsFile>();
  for (const name of new Set(fileOf.values())) shards.set(name, openShard(folder, name));
  const tensors = new Map<string, SafetensorsFile>();
  for (const [tensor, name] of fileOf) {
    const shard = shards.get(name);
    if (!shard?.has(tensor)) {
      throw modelUnreadable(
        'The index promises a tensor that its file does not hold.',
        join(folder.path, name),
        {
          expected: `the tensor ${quote(tensor)}`,
        },
      );
    }
    tensors.set(tensor, shard);
  }
  addUnlisted(tensors, shards);
  return tensors;
}

function openShard(folder: ModelFiles, name: string): SafetensorsFile {
  const path = fileInFolder(folder, name);
  if (path !== undefined) return openSafetensors(path, { followLink: false });
  throw modelUnreadable('The index names a file that is not in the model folder.', join(folder.path, name));
}

/** Tensors that the index leaves out are still part of the model, as transformers has it; twice is once too often. */
function addUnlisted(
  tensors: Map<string, SafetensorsFile>,
  shards: ReadonlyMap<string, SafetensorsFile>,
): void {
  for (const shard of shards.values()) {
    for (const tensor of shard.names) {
      const other = tensors.get(tensor) ?? shard;
      if (other !== shard) {
        throw modelUnreadable('Two files of the model hold a tensor of the same name.', shard.path, {
          expected: `the tensor ${quote(tensor)} in ${other.path} alone`,
        });
      }
      tensors.set(tensor, shard);
    }
  }
}
