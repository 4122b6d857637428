import { existsSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { TrainyardError } from '../base/errors.js';
import { demandWritableFolder } from '../store/demand-writable-folder.js';
import { checkpointsIn } from './checkpoints-in.js';
import type { LoadedConfig } from './config.js';

/**
 * Tries the folders that a run writes to, if there are any. Model, checkpoints and timeline are written after the last
 * step, when it is too late to learn that they cannot be.
 *
 * @param timeline the file of `--timeline`
 * @throws TrainyardError OUTPUT_UNUSABLE
 */
export function demandOutput({ config, origin }: LoadedConfig, timeline?: string): void {
  if (timeline !== undefined) demandFilePlace(timeline);
  const { output } = config;
  if (output === undefined) return;
  const setting = `output (${origin.describe(['output'], 'value')})`;
  demandWritableFolder(output, setting);
  const checkpoints = checkpointsIn(output);
  if (existsSync(checkpoints)) demandWritableFolder(checkpoints, setting);
}

function demandFilePlace(path: string): void {
  demandWritableFolder(dirname(path), '--timeline');
  if (!existsSync(path) || statSync(path).isFile()) return;
  throw new TrainyardError('OUTPUT_UNUSABLE', {
    what: 'The timeline cannot be written.',
    where: '--timeline',
    expected: 'the name of a file',
    got: `${path}, which is something else`,
    cure: 'Name a file, such as timeline.json in that folder.',
  });
}
