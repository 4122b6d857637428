import { loadNative } from './load.js';

/** The add-on. Importing this module loads libtorch. */
export const native = loadNative();
