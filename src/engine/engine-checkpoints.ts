import { TrainyardError } from '../base/errors.js';
import type { JsonObject } from '../base/json-document.js';
import { configToSave } from '../models/registry.js';
import { OptimizerGroup } from '../optim/optimizer-group.js';
import type { CheckpointConfig } from '../store/config.js';
import { loadTrainingState, type RestoredCheckpoint, type TrainingState } from './checkpoint.js';
import { CheckpointSaver, type SavedCheckpoint } from './checkpoint-saver.js';
import type { EngineParts } from './engine-parts.js';
import type { NonFiniteGuard } from './non-finite/guard.js';
import type { TrainingProgress } from './training-progress.js';

/** What came of loading a checkpoint. */
export type LoadedCheckpoint = Pick<RestoredCheckpoint, 'tag' | 'passedOver' | 'notes'>;

/** How copies in memory are kept. */
const REPLICAS: CheckpointConfig = {
  keep: 2,
  replicate: false,
  on_failure: 'warn',
  tag_validation: 'Ignore',
  writer: { decoupled: false },
};

/** What an engine saves and goes on from: on disk, and as copies in memory. */
export class EngineCheckpoints {
  readonly #parts: EngineParts;
  readonly #progress: TrainingProgress;
  readonly #guard: NonFiniteGuard;
  readonly #saver: CheckpointSaver;
  readonly #replicas: CheckpointSaver;

  constructor(parts: EngineParts, progress: TrainingProgress, guard: NonFiniteGuard) {
    this.#parts = parts;
    this.#progress = progress;
    this.#guard = guard;
    this.#saver = new CheckpointSaver(parts.config.checkpoint, parts.group, parts.warn);
    this.#replicas = new CheckpointSaver(REPLICAS, parts.group, parts.warn);
  }

  /** Starts a save, or makes one, as the configuration says. */
  save(directory: string, tag: string | undefined): string | undefined {
    return this.#saver.save(directory, this.#state(), this.#progress.steps, tag);
  }

  /** A step has ended: a save that goes on beside training may have, too. */
  advance(): void {
    this.#saver.advance();
  }

  /** Waits until a save that goes on beside training has ended. */
  finish(): void {
    this.#saver.finish();
  }

  take(): readonly SavedCheckpoint[] {
    return this.#saver.take();
  }

  replicate(directory: string): void {
    this.#replicas.save(directory, this.#state(), this.#progress.steps);
    this.#replicas.take();
  }

  load(directory: string, tag?: string): LoadedCheckpoint | undefined {
    const checkpoint = loadTrainingState(directory, this.#state(), tag);
    if (checkpoint === undefined) return undefined;
    this.#parts.optimizer.pending?.discard();
    this.#saver.protect(checkpoint.tag);
    this.#progress.restore(checkpoint);
    this.#guard.restore(checkpoint.tag, checkpoint.state.extra);
    this.#parts.programs.loaded();
    return checkpoint;
  }

  rewind(directory: string): LoadedCheckpoint {
    this.#saver.finish();
    const found = this.load(directory);
    if (found !== undefined) return found;
    throw new TrainyardError('CHECKPOINT_INVALID', {
      what: 'There is no checkpoint to rewind to.',
      where: directory,
      cure: 'Save one before the first step: engine.save.',
    });
  }

  close(): void {
    this.#saver.finish();
    this.#saver.close();
    this.#replicas.close();
  }

  #state(): TrainingState {
    const { memory, optimizer, errors, outer, programs, group, axes, device, config, identity, source } =
      this.#parts;
    const { seed, train_batch_size: batchSize } = config;
    const extra = { ...this.#progress.toSave(), ...this.#guard.toSave() };
    return {
      memory,
      optimizer,
      group,
      device,
      identity,
      model: configToSave(source.model, 'float32') as JsonObject,
      seed,
      batchSize,
      extra,
      ...(errors && { errors: { errors, programs: programs.programs, group: axes.data } }),
      ...(config.redundancy?.type === 'local' &&
        optimizer instanceof OptimizerGroup && {
          replicas: { memory, optimizer, group, ...(outer && { outer }) },
        }),
    };
  }
}
