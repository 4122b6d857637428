/** Models as blocks, from Hugging Face configurations. */
export { modelFromConfig } from './registry.js';
