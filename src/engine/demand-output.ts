import { existsSync } from 'node:fs';
import { demandWritableFolder } from '../store/demand-writable-folder.js';
import { checkpointsIn } from './checkpoints-in.js';
import type { LoadedConfig } from './config.js';

/**
 * Tries the output folder of a run, if it has one. Model and checkpoints are written after the last step, when it is too
 * late to learn that they cannot be.
 *
 * @throws TrainyardError OUTPUT_UNUSABLE
 */
export function demandOutput({ config, origin }: LoadedConfig): void {
  const { output } = config;
  if (output === undefined) return;
  const setting = `output (${origin.describe(['output'], 'value')})`;
  demandWritableFolder(output, setting);
  const checkpoints = checkpointsIn(output);
  if (existsSync(checkpoints)) demandWritableFolder(checkpoints, setting);
}
