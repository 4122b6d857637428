import { join } from 'node:path';
import { reportingWriteErrors } from '../durable.js';
import { nodeFileSystem } from '../file-system.js';
import { createSafetensors, type TensorSource } from '../safetensors/write.js';
import { ADAPTER_CONFIG_FILE, ADAPTER_WEIGHTS_FILE } from './file-names.js';
import { publishModel } from './publish.js';
import { type CompanionFiles, writeCompanions, writeJson } from './write-files.js';

/** What an adapter's folder is made of. */
export interface AdapterToSave {
  readonly config: Readonly<Record<string, unknown>>;
  readonly tensors: Iterable<TensorSource>;
  readonly companionFiles?: CompanionFiles;
}

/**
 * Writes an adapter in PEFT's layout. Of a model or an adapter that is there already, it takes the place when it is
 * complete; other files in the folder are left alone.
 *
 * @throws TrainyardError OUTPUT_UNWRITABLE; MODEL_UNREADABLE for a companion file that cannot be read
 */
export function saveAdapterFolder(folder: string, adapter: AdapterToSave): void {
  reportingWriteErrors('The adapter', folder, () => {
    publishModel(nodeFileSystem, folder, (staging) => {
      createSafetensors(nodeFileSystem, join(staging, ADAPTER_WEIGHTS_FILE), adapter.tensors);
      writeJson(nodeFileSystem, join(staging, ADAPTER_CONFIG_FILE), adapter.config);
      writeCompanions(nodeFileSystem, staging, adapter.companionFiles ?? new Map());
    });
  });
}
