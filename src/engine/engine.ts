import { TrainyardError } from '../base/errors.js';
import { SingleGroup } from '../comm/process-group/single.js';
import type { MicroBatchData } from '../data/batch-source.js';
import type { Tokenizer } from '../data/tokenizer.js';
import type { BlockParameters } from '../nn/block.js';
import type { TierTraffic } from '../offload/tier-traffic.js';
import type { MemoryPeak } from '../step/checker/data-flow.js';
import type { TimedInstruction } from '../step/executor.js';
import type { Instruction } from '../step/instruction.js';
import { meetingText } from '../step/instruction-text.js';
import type { Program } from '../step/program.js';
import { runStep } from '../step/run-step.js';
import { hasMasters } from '../step/sharding.js';
import type { Slice } from '../step/timeline.js';
import { openModelFolder } from '../store/hugging-face/model-folder.js';
import type { Tensor } from '../tensor/tensor.js';
import { openFittingAdapter } from './adapter-source.js';
import { type Batch, cutBatch, toDevice } from './batch.js';
import type { SavedCheckpoint } from './checkpoint-saver.js';
import type { ResolvedConfig } from './config.js';
import { EngineCheckpoints, type LoadedCheckpoint } from './engine-checkpoints.js';
import { type EngineData, openEngineData } from './engine-data.js';
import type { EngineParts } from './engine-parts.js';
import { evaluate } from './evaluate.js';
import { loadAdapter, loadParameters, type ParameterWriter } from './fill-parameters.js';
import { gatherNumbers } from './gather-bytes.js';
import { gatherTimeline } from './gather-timeline.js';
import { GatheredParameters } from './gathered-parameters.js';
import { closeMesh } from './mesh-groups.js';
import { NonFiniteGuard } from './non-finite/guard.js';
import { StepRecord } from './non-finite/step-record.js';
import { ownPositions } from './own-positions.js';
import { saveModel } from './save-model.js';
import { StepMeter } from './step-meter.js';
import type { StepOptions, StepResult } from './step-result.js';
import { batchPlace } from './training-data.js';
import type { LogicalParameter } from './training-memory.js';
import { TrainingProgress } from './training-progress.js';

const KIBIBYTE = 1024;

/**
 * One rank's training: a checked program, the memory it works on, and the count of steps done. The way of a
 * step is the program's; nothing here asks which feature is on.
 */
export class Engine {
  readonly #parts: EngineParts;
  readonly #progress: TrainingProgress;
  readonly #gathered: GatheredParameters;
  readonly #guard: NonFiniteGuard;
  readonly #checkpoints: EngineCheckpoints;

  constructor(parts: EngineParts) {
    this.#parts = parts;
    this.#gathered = new GatheredParameters(parts.memory, hasMasters(parts.programs.program));
    this.#progress = new TrainingProgress(parts.lossScaling.scaling);
    this.#guard = new NonFiniteGuard(parts);
    this.#checkpoints = new EngineCheckpoints(parts, this.#progress, this.#guard);
  }

  get config(): ResolvedConfig {
    return this.#parts.config;
  }

  get program(): Program {
    return this.#parts.programs.program;
  }

  get rank(): number {
    return this.#parts.group.rank;
  }

  get worldSize(): number {
    return this.#parts.group.worldSize;
  }

  /** Optimizer steps done, those that were skipped included. */
  get steps(): number {
    return this.#progress.steps;
  }

  /**
   * Which global batch the next step is to be given, counted from 0: as many as there were steps, and those that are
   * left out for numbers that were not finite (`non_finite`, "rewind").
   */
  get nextBatch(): number {
    return this.#guard.batchOf(this.steps);
  }

  /** Of those, the ones whose update was left out. */
  get skippedSteps(): number {
    return this.#progress.skippedSteps;
  }

  /** The factor on the loss that the next step is computed with (fp16; otherwise 1). */
  get lossScale(): number {
    return this.#progress.lossScale;
  }

  /** How many values the model trains, tied weights counted once. */
  get parameterCount(): number {
    return countElements(this.#parts.memory.slots.filter(({ trainable }) => trainable));
  }

  /** How many values it has that are not trained: of a model under an adapter, all of its own. */
  get frozenParameterCount(): number {
    return countElements(this.#parts.memory.slots.filter(({ trainable }) => !trainable));
  }

  /** Full Hugging Face names, those of tied parameters left out. */
  get parameterNames(): readonly string[] {
    return this.#parts.memory.slots.map(({ name }) => name);
  }

  /** What the optimizer keeps on this rank from step to step. */
  get optimizerStateBytes(): number {
    const { optimizer, outer } = this.#parts;
    return optimizer.bytes + (outer?.bytes ?? 0);
  }

  /**
   * The blocks' parameters, as the blocks see them. Under ZeRO and mixed precision every step makes them anew from
   * weights kept apart: one that is trained is then an error that names `gathered`.
   */
  get parameters(): readonly BlockParameters[] {
    return this.#gathered.blocks();
  }

  /**
   * Opens what `data` in the configuration names, for `trainStep`, with the tokenizer to save the model with.
   *
   * @throws TrainyardError CONFIG_INVALID without `data`; DATA_UNREADABLE, DATA_INVALID, TOKENIZER_INVALID.
   */
  openData(): Promise<EngineData> {
    const { config, source, axes } = this.#parts;
    return openEngineData(config, source, batchPlace(config, axes.data));
  }

  /**
   * One optimizer step on this rank's share of the global batch: micro-batch size × accumulation steps rows.
   * Every rank must call it; those that share sequences (`sequence_parallel_size`) with the same whole ones.
   *
   * @throws TrainyardError DATA_INVALID when the batch does not fit the configuration, LOSS_SCALE_EXHAUSTED when
   * fp16 overflows at the smallest loss scale, TRAINING_DIVERGED for a loss or gradients that are not finite, both where
   * `non_finite` does not say otherwise.
   */
  trainBatch(batch: Batch): StepResult {
    const { train_micro_batch_size_per_gpu: rows, gradient_accumulation_steps: micros } = this.config;
    const data = cutBatch(batch, this.#parts.source.model, rows, micros);
    return this.trainStep((micro) => data[micro] as MicroBatchData);
  }

  /** As `trainBatch`, with each micro-batch made when its turn comes: `trainStep(data.batch(engine.nextBatch))`. */
  trainStep(microBatch: (micro: number) => MicroBatchData, options: StepOptions = {}): StepResult {
    const { programs, schedule, lossScaling, links, flight, device } = this.#parts;
    this.#gathered.demandClosed('A training step');
    const step = this.steps + 1;
    const enter = (instruction: Instruction): void =>
      flight?.recorder.enter(`step ${step}, ${meetingText(instruction)}`);
    const meter = new StepMeter(this.#parts, this.tierTraffic);
    const { updates, lossScale } = this.#progress;
    programs.turnTo({ steps: this.steps, updates });
    const { learningRate, momentum } = schedule.at(updates);
    const resources = this.#resources();
    const record = new StepRecord(device, microBatch);
    const inputs = {
      nextBatch: (micro: number) =>
        toDevice(ownPositions(record.microBatch(micro), links.resources.sequenceAxis), device),
      lossScale: lossScaling.factor * lossScale,
      training: true,
      votesToStop: options.votesToStop ?? false,
      update: { step: updates + 1, learningRate, ...(momentum !== undefined && { momentum }) },
    };
    const { program } = programs;
    const metrics = programs.run(options.record, (program, measure) =>
      runStep(program, resources, inputs, {
        step,
        enter,
        record: (timed) => {
          meter.add(program, timed);
          measure?.(timed);
        },
      }),
    );
    flight?.recorder.enter('');
    const { overflowAnswer } = this.#progress;
    const ended = { program, resources, inputs, step, record, metrics, lossScale, overflowAnswer };
    const nonFinite = this.#guard.judge(ended);
    const { overflow, drift } = metrics;
    const skipped = overflow !== undefined || nonFinite !== undefined;
    this.#progress.count(skipped);
    this.#checkpoints.advance();
    return {
      step: this.steps,
      loss: metrics.loss,
      gradientNorm: metrics.gradientNorm,
      learningRate,
      tokens: metrics.tokens,
      ...meter.result(),
      skipped,
      ...(overflow !== undefined && { overflow }),
      ...(nonFinite && { nonFinite }),
      skippedSteps: this.skippedSteps,
      lossScale,
      stopAsked: metrics.stopVotes > 0,
      ...(drift && { drift }),
    };
  }

  /** What a step works with. */
  #resources() {
    const { model, memory, links, optimizer, errors, outer } = this.#parts;
    return {
      blocks: model.blocks,
      ...memory.resources,
      ...links.resources,
      optimizer,
      ...(errors && { errors }),
      ...(outer && { outer }),
      ...(optimizer.momentum && { momentum: optimizer.momentum }),
      ...(optimizer.pending && { pending: optimizer.pending }),
    };
  }

  /** Weights and states become those after the last step, where its update is left to the next (`overlap_step`). */
  #finishUpdate(): void {
    this.#parts.optimizer.pending?.finish();
  }

  /**
   * Makes parameters whole for the time of `body`, for reading and for writing: what `body` has written into them
   * is what training goes on with. Every rank must call it with the same names and write the same. Frozen ones are
   * for reading alone.
   *
   * @param names some of `parameterNames`
   * @throws TrainyardError PARAMETER_UNKNOWN; USAGE for a call inside another, and for a body that is async.
   */
  gathered<Result>(names: readonly string[], body: (tensors: ReadonlyMap<string, Tensor>) => Result): Result {
    this.#finishUpdate();
    return this.#gathered.during(names, body);
  }

  /**
   * Writes the model as a Hugging Face folder; rank 0 writes, every rank waits until it is there.
   *
   * @throws TrainyardError OUTPUT_UNWRITABLE.
   */
  saveModel(directory: string, tokenizer?: Tokenizer): void {
    const { source, memory, group } = this.#parts;
    this.#finishUpdate();
    saveModel(directory, { source, memory, group, tokenizer });
    group.barrier().wait();
  }

  /**
   * As `saveModel`, of the weights that this rank has, and by this rank alone: no other needs to do anything. That is
   * how one replica of several is exported, or evaluated and tried out elsewhere, while the others train.
   *
   * @throws TrainyardError USAGE on a rank that has not all of the weights (ZeRO, tensor parallelism); OUTPUT_UNWRITABLE.
   */
  exportModel(directory: string, tokenizer?: Tokenizer): void {
    const { source, memory } = this.#parts;
    this.#demandWhole('engine.exportModel', 'engine.saveModel');
    this.#finishUpdate();
    saveModel(directory, { source, memory, group: new SingleGroup(), tokenizer });
  }

  /**
   * Mean loss over the target tokens of a batch, on the weights that this rank has, without an update and without the
   * other ranks. The rows are a multiple of the micro-batch's.
   *
   * @throws TrainyardError USAGE on a rank that has not all of the weights (ZeRO, tensor parallelism); DATA_INVALID as `trainBatch`.
   */
  evaluate(batch: Batch): number {
    const { source, model, memory } = this.#parts;
    this.#gathered.demandClosed('engine.evaluate');
    this.#demandWhole('engine.evaluate', 'engine.saveModel');
    this.#finishUpdate();
    const { train_micro_batch_size_per_gpu: rows } = this.config;
    const micros = Math.max(1, Math.ceil(batch.inputIds.length / rows));
    return evaluate(model, memory, cutBatch(batch, source.model, rows, micros));
  }

  #demandWhole(what: string, instead: string): void {
    if (this.#parts.memory.isWhole) return;
    throw new TrainyardError('USAGE', {
      what: `${what} works with the weights that a rank has, and this one has a part of them.`,
      expected: 'zero_optimization.stage 0 and mesh.tensor 1, with or without redundancy',
      got: `stage ${this.config.zero_optimization.stage}, mesh.tensor ${this.config.mesh.tensor}`,
      cure: `call ${instead} on every rank, and use the folder that it writes`,
    });
  }

  /**
   * Takes the weights of a folder such as `saveModel` writes: a model's, whose configuration is not looked at, or an
   * adapter's where an adapter is trained. What is frozen stays. Every rank must call it.
   *
   * @throws TrainyardError MODEL_UNREADABLE, SAFETENSORS_INVALID, also when names or shapes do not fit the model.
   */
  loadModel(directory: string): void {
    this.#gathered.demandClosed('engine.loadModel');
    this.#finishUpdate();
    const { source, memory, outer } = this.#parts;
    const { model, adapter } = source;
    const write: ParameterWriter = (name, values) => memory.fill(memory.slot(name), values);
    const isTrained = (name: string): boolean => memory.slot(name).trainable;
    if (adapter === undefined) loadParameters(openModelFolder(directory), model, write, isTrained);
    else loadAdapter(openFittingAdapter(directory, model), model, write, isTrained);
    outer?.begin();
  }

  /**
   * Saves everything that training depends on to go on as if it had never stopped, as `step-N` in the directory:
   * parameters, optimizer states, random states, and the number of steps, from which the schedule and the position
   * in the data follow. Every rank must call it; when it returns the checkpoint survives any crash. With
   * `checkpoint.writer.decoupled` it returns when everything is copied: the checkpoint is there when `takeSaved` has it, at
   * the latest after `finishSave`.
   *
   * @returns on rank 0 the checkpoint's folder
   * @throws TrainyardError OUTPUT_UNWRITABLE, CHECKPOINT_INVALID for an impossible tag.
   */
  save(directory: string, { tag }: { readonly tag?: string } = {}): string | undefined {
    this.#finishUpdate();
    const folder = this.#checkpoints.save(directory, tag);
    return this.rank === 0 ? folder : undefined;
  }

  /**
   * Waits until a save that goes on beside training has ended. Every rank must call it.
   *
   * @throws TrainyardError OUTPUT_UNWRITABLE
   */
  finishSave(): void {
    this.#checkpoints.finish();
  }

  /** The checkpoints that have been completed since this was asked last, the same on every rank. */
  takeSaved(): readonly SavedCheckpoint[] {
    return this.#checkpoints.take();
  }

  /**
   * Keeps a copy of the state in a folder that lies in memory, for ranks that start again; the last two stay. Every rank
   * must call it. Where it cannot be kept there is a warning.
   */
  replicate(directory: string): void {
    this.#finishUpdate();
    this.#checkpoints.replicate(directory);
  }

  /**
   * Goes on where the newest whole checkpoint of the directory stands, or the one named by `tag`, whatever ZeRO stage,
   * mesh and number of ranks it was saved with; undefined when there is none. Every rank must call it.
   *
   * @throws TrainyardError CHECKPOINT_INVALID when none is whole; CONFIG_CONFLICT when it belongs to another run.
   */
  load(directory: string, { tag }: { readonly tag?: string } = {}): LoadedCheckpoint | undefined {
    return this.#checkpoints.load(directory, tag);
  }

  /**
   * Goes back to the newest whole checkpoint of the directory, as `load`, where `trainStep` said so: training goes on from
   * there without the batch of the step that was not finite (`nextBatch`). Every rank must call it.
   *
   * @throws TrainyardError CHECKPOINT_INVALID when there is none, or none is whole.
   */
  rewind(directory: string): LoadedCheckpoint {
    return this.#checkpoints.rewind(directory);
  }

  /**
   * The most steps that any rank has done. Only replicas that never meet differ in it, when they are asked to stop. Every
   * rank must call it, and waits for those that still train.
   */
  furthestStep(): number {
    const { reunion } = this.#parts;
    return reunion === undefined ? this.steps : Math.max(...gatherNumbers(reunion, this.steps));
  }

  /** The largest resident memory so far of each rank, in bytes. Every rank must call it. */
  peakMemory(): readonly number[] {
    return gatherNumbers(this.#parts.group, process.resourceUsage().maxRSS * KIBIBYTE);
  }

  /** The most bytes of tensors that a step takes on each rank and what they are, as its program says. */
  predictedPeaks(): readonly MemoryPeak[] {
    return this.#parts.programs.predictedPeaks;
  }

  /**
   * The most bytes of tensors that a step took on each rank. Every rank must call it. Undefined on a GPU, whose
   * memory is not counted.
   */
  measuredPeakBytes(): readonly number[] | undefined {
    const { group, device, programs } = this.#parts;
    return device === 'cpu' ? gatherNumbers(group, programs.measuredPeakBytes) : undefined;
  }

  /**
   * What this rank has read from other tiers and written to them so far, first values and checkpoints included, and how
   * long it stood still for that. Undefined where all of its training state is on the device.
   */
  get tierTraffic(): TierTraffic | undefined {
    return this.#parts.memory.stores?.traffic;
  }

  /** What every rank did in a step, of which it has the program and the times. Every rank must call it. */
  timeline(program: Program, times: readonly TimedInstruction[]): readonly Slice[] {
    return gatherTimeline(this.#parts.group, program, times);
  }

  /** Leaves the other ranks and frees the memory, once a save that goes on has ended. */
  close(): void {
    this.#checkpoints.close();
    const { group, axes, links, reunion, memory, optimizer, errors, outer, source, model } = this.#parts;
    links.close();
    reunion?.close();
    closeMesh(group, axes);
    optimizer.dispose();
    errors?.dispose();
    outer?.dispose();
    memory.dispose();
    model.dispose?.();
    source.model.dispose?.();
  }

  /** The same, for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}

function countElements(slots: readonly Pick<LogicalParameter, 'elements'>[]): number {
  return slots.reduce((sum, { elements }) => sum + elements, 0);
}
