import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the clone or of the installed package. */
export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '');

/** A path inside the clone. @param {string[]} parts */
export const inRoot = (...parts) => join(root, ...parts);
