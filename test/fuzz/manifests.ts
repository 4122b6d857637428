import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadCheckpoint } from '../../src/store/checkpoint.js';
import { savePartedCheckpoint } from '../parted-checkpoint.js';
import type { MakeFuzzer } from './fuzz.js';
import { type Json, mutateSeveral, STRANGE_VALUES } from './mutate-json.js';

const STRANGE: readonly Json[] = [
  ...STRANGE_VALUES,
  ...['step-1', 'part-99999.safetensors', { dimension: 0, runs: [[0, 2 ** 53 - 1]] }],
];

/** Manifests with a right checksum and any content; what a checkpoint has is read where it is taken. */
export const manifests: MakeFuzzer = (folder) => {
  savePartedCheckpoint(folder, 1);
  const path = join(folder, 'step-1/manifest.json');
  const { manifest } = JSON.parse(readFileSync(path, 'utf8')) as { readonly manifest: Json };
  return {
    codes: ['CHECKPOINT_INVALID'],
    round(chance) {
      const changed = mutateSeveral(manifest, chance, STRANGE);
      const sha256 = createHash('sha256').update(JSON.stringify(changed)).digest('hex');
      writeFileSync(path, `${JSON.stringify({ sha256, manifest: changed }, undefined, 1)}\n`);
      const found = loadCheckpoint(folder);
      for (const name of found?.names ?? []) found?.read(name).bytes();
    },
  };
};
