/**
 * Trainyard's public names. `import { initialize } from 'trainyard'` builds an engine from a configuration with
 * DeepSpeed's keys; everything else is for models, tensors and tools of one's own.
 *
 * @module
 */

export { ERROR_CODES, type ErrorCode } from './base/error-codes.js';
export { type ErrorReport, TrainyardError } from './base/errors.js';
export { loadTokenizer } from './data/tokenizer/load-tokenizer.js';
export type { Tokenizer } from './data/tokenizer.js';
export type { Batch } from './engine/batch.js';
export { configJsonSchema } from './engine/config/published-schema.js';
export { defineConfig, type ResolvedConfig, resolveConfig, type UserConfig } from './engine/config.js';
export type { Engine } from './engine/engine.js';
export type { EngineData } from './engine/engine-data.js';
export { type GenerateOptions, generateText } from './engine/generate.js';
export { type InitializeOptions, initialize } from './engine/initialize.js';
export { type Replay, type ReplayOptions, replayBundle } from './engine/replay.js';
export type { StepOptions, StepResult } from './engine/step-result.js';
export * as models from './models/index.js';
export * as nn from './nn/index.js';
export * as step from './step/index.js';
export * as store from './store/index.js';
export * as tensor from './tensor/index.js';
