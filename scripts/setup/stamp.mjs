import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { inRoot, root } from './paths.mjs';

/**
 * A step of the set-up is skipped when the fingerprint of everything it reads equals the one written when it
 * last succeeded. Contents are hashed, not times: a fresh checkout or a touched file costs nothing.
 */

/**
 * @param {readonly string[]} files absolute paths
 * @param {readonly string[]} facts anything else that the result depends on (versions, folders)
 */
export function fingerprint(files, facts) {
  const hash = createHash('sha256');
  for (const file of files) {
    hash
      .update(`${relative(root, file)}\0`)
      .update(readFileSync(file))
      .update('\0');
  }
  for (const fact of facts) hash.update(`${fact}\0`);
  return hash.digest('hex');
}

/**
 * Every file under a folder whose name passes, in a stable order.
 * @param {string} folder
 * @param {(name: string) => boolean} accepts
 * @returns {string[]}
 */
export function filesUnder(folder, accepts) {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && accepts(entry.name))
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** @param {string} step */
const stampPath = (step) => inRoot('build', 'stamps', step);

/** Whether the step succeeded with exactly this fingerprint. @param {string} step @param {string} print */
export function isStamped(step, print) {
  try {
    return readFileSync(stampPath(step), 'utf8') === print;
  } catch {
    return false;
  }
}

/** @param {string} step @param {string} print */
export function stamp(step, print) {
  mkdirSync(dirname(stampPath(step)), { recursive: true });
  writeFileSync(stampPath(step), print);
}
