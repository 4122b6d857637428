import { setImmediate as turn } from 'node:timers/promises';
import { env } from '../base/env.js';
import { TrainyardError } from '../base/errors.js';
import type { BatchSource } from '../data/batch-source.js';
import type { Tokenizer } from '../data/tokenizer.js';
import type { RankEnvironment } from '../launch/environment.js';
import type { EventSink } from '../launch/events.js';
import { REPLICA_VARIABLE } from '../launch/replica-folder.js';
import { clearRemains } from '../store/checkpoint/write.js';
import { nodeFileSystem } from '../store/file-system.js';
import { checkpointsIn } from './checkpoints-in.js';
import { type LoadedConfig, loadConfig } from './config.js';
import { demandOutput } from './demand-output.js';
import type { Engine } from './engine.js';
import { hostNotes } from './hosts.js';
import { buildEngine } from './initialize.js';
import { type ModelSource, openModel } from './model-source.js';
import type { StepResult } from './step-result.js';
import { dataPlace, openTrainingData } from './training-data.js';
import { TrainingReport } from './training-report.js';
import { joinWorld, type World } from './world.js';

/** What a rank needs to train by a configuration file. */
export interface TrainingOptions {
  readonly configPath: string;
  /** As given to `--set`. */
  readonly overrides: readonly string[];
  readonly environment: RankEnvironment;
  readonly sink: EventSink;
  /** Asks for an early end: the step is finished, the model saved. */
  readonly signal: AbortSignal;
  /** Go on from the newest checkpoint in the output folder. */
  readonly resume?: boolean;
  /** The file that a timeline of the last step goes to. */
  readonly timeline?: string | undefined;
}

type TrainingConfig = LoadedConfig<'model' | 'data' | 'steps'>;

/**
 * One rank's whole run: read the configuration, open model and data, meet the other ranks, train, save.
 *
 * @throws TrainyardError for anything that keeps the run from going on.
 */
export async function runTraining(options: TrainingOptions): Promise<void> {
  const { environment, sink } = options;
  const { worldSize } = environment;
  const enter = (instruction: string): void => sink({ event: 'section', step: 0, instruction });

  enter('read the configuration');
  const loaded = loadConfig(options.configPath, options.overrides, {
    worldSize,
    requires: ['model', 'data', 'steps'],
  });
  const { config, notes } = loaded;
  if (environment.rank === 0) {
    for (const message of notes) sink({ event: 'log', level: 'warning', message });
  }
  const resumed = options.resume ? outputToResume(config) : undefined;
  enter('try the output folder');
  if (environment.rank === 0) {
    demandOutput(loaded, options.timeline);
    clearOutput(config, sink);
  }
  enter('open the model');
  const source = openModel(config);
  enter('open the data');
  const { data, batches } = await openTrainingData(config, source, dataPlace(config, environment));
  if (environment.rank === 0) {
    for (const message of data.warnings) sink({ event: 'log', level: 'warning', message });
  }
  enter('meet the other ranks');
  const world = joinWorld(config, environment);
  if (environment.rank === 0) {
    for (const message of [...(world.notes ?? []), ...hostNotes(config, world.hosts)])
      sink({ event: 'log', level: 'info', message });
  }
  try {
    await trainInWorld(options, world, { loaded, resumed, source, data, batches });
  } catch (error) {
    // The others need not wait for a rank that cannot go on.
    world.flight?.fail(error instanceof TrainyardError ? error.report.what : String(error));
    throw error;
  }
}

/** What a rank has opened before it met the others. */
interface OpenedTraining extends Awaited<ReturnType<typeof openTrainingData>> {
  readonly loaded: TrainingConfig;
  /** The folder to resume from. */
  readonly resumed: string | undefined;
  readonly source: ModelSource;
}

async function trainInWorld(
  { sink, signal, timeline }: TrainingOptions,
  world: World,
  { loaded, resumed, source, data, batches }: OpenedTraining,
): Promise<void> {
  const { config } = loaded;
  sink({ event: 'section', step: 0, instruction: 'build the model' });
  const { sequenceLength } = batches;
  const warn = (message: string): void => sink({ event: 'log', level: 'warning', message });
  const engine = buildEngine({ config, source, world, sequenceLength, data: data.identity, warn });

  const replicas = replicaFolder(config);
  const isRestored = replicas !== undefined && resume(engine, replicas, loaded, sink);
  if (!isRestored && resumed !== undefined && !resume(engine, checkpointsIn(resumed), loaded, sink)) {
    if (engine.rank === 0)
      sink({ event: 'log', level: 'info', message: 'no checkpoint yet: starting at step 1' });
  }
  // There has to be something to rewind to.
  const mayRewind = config.non_finite?.action === 'rewind' && config.output !== undefined;
  if (mayRewind && engine.steps === 0) engine.save(checkpointsIn(config.output));

  const report = new TrainingReport({ config, engine, sink, sequenceLength, timeline });
  report.begin();
  const checkpoints = config.output === undefined ? undefined : checkpointsIn(config.output);
  const kept = { checkpoints, replicas };
  await trainSteps({ engine, batches, steps: config.steps, signal, report, ...kept });
  // Replicas that never meet are stopped at steps of their own: they all go as far as the first of them has come.
  const steps = engine.furthestStep();
  await trainSteps({ engine, batches, steps, signal: new AbortController().signal, report, ...kept });
  const stopped = engine.steps < config.steps;
  if (config.output !== undefined) {
    const folder = save(engine, config.output, data.tokenizer, sink);
    report.checkpoints();
    const message = `stopped after step ${engine.steps}; --resume goes on from ${folder}`;
    if (stopped && engine.rank === 0) sink({ event: 'log', level: 'info', message });
  }
  report.finish(stopped);
  engine.close();
}

/** Goes on from the newest checkpoint of a folder; false where there is none. */
function resume(
  engine: Engine,
  folder: string,
  { config, origin }: TrainingConfig,
  sink: EventSink,
): boolean {
  const found = engine.load(folder);
  if (found === undefined) return false;
  demandStepsToDo(engine, config.steps, origin.describe(['steps'], 'value'));
  if (engine.rank !== 0) return true;
  for (const { tag, reason } of found.passedOver) {
    sink({ event: 'log', level: 'warning', message: `the checkpoint ${tag} cannot be used: ${reason}` });
  }
  for (const message of found.notes) sink({ event: 'log', level: 'warning', message });
  sink({ event: 'log', level: 'info', message: `resumed after step ${engine.steps}` });
  return true;
}

/** @throws TrainyardError CONFIG_UNSUPPORTED where nobody starts ranks again who has a folder for copies */
function replicaFolder({ checkpoint }: TrainingConfig['config']): string | undefined {
  if (!checkpoint.replicate) return undefined;
  const folder = env.variables[REPLICA_VARIABLE];
  if (folder !== undefined) return folder;
  throw new TrainyardError('CONFIG_UNSUPPORTED', {
    what: 'There is no memory for copies of the state: it belongs to whoever starts the ranks again.',
    where: 'checkpoint.replicate',
    expected: 'ranks that `trainyard train --ranks` has started',
    got: 'ranks that another launcher has started',
    cure: 'Remove it, and set checkpoint.interval.',
  });
}

/** @throws TrainyardError CONFIG_INVALID without a folder to resume from. */
function outputToResume({ output }: TrainingConfig['config']): string {
  if (output !== undefined) return output;
  throw new TrainyardError('CONFIG_INVALID', {
    what: 'There is no output folder to resume from.',
    where: 'output',
    cure: 'name the output folder of the run that was stopped',
  });
}

function demandStepsToDo({ steps: done }: Engine, steps: number, place: string): void {
  if (done < steps) return;
  throw new TrainyardError('CONFIG_CONFLICT', {
    what:
      done === steps
        ? `The run is already finished: its checkpoint is that of step ${done}.`
        : `The checkpoint is that of step ${done}, beyond the end of this run.`,
    where: `steps (${place})`,
    expected: `more than ${done}`,
    got: `${steps}`,
    cure: `Ask for more steps, as in --set steps=${2 * done}, or begin anew without --resume.`,
  });
}

/** Removes what a save has left that was interrupted. */
function clearOutput({ output }: TrainingConfig['config'], sink: EventSink): void {
  const removed = output === undefined ? [] : clearRemains(nodeFileSystem, checkpointsIn(output));
  for (const name of removed) {
    sink({ event: 'log', level: 'info', message: `removed ${name}, which an interrupted save has left` });
  }
}

/** A run leaves its model, and what it needs to go on: to its end, or beyond it. */
function save(
  engine: Engine,
  output: string,
  tokenizer: Tokenizer | undefined,
  sink: EventSink,
): string | undefined {
  sink({ event: 'section', step: engine.steps, instruction: 'save the model' });
  engine.saveModel(output, tokenizer);
  sink({ event: 'section', step: engine.steps, instruction: 'save a checkpoint' });
  const folder = engine.save(checkpointsIn(output));
  engine.finishSave();
  return folder;
}

interface TrainingLoop {
  readonly engine: Engine;
  readonly batches: BatchSource;
  readonly steps: number;
  readonly signal: AbortSignal;
  readonly report: TrainingReport;
  /** Where checkpoints go between steps; absent where there is no output. */
  readonly checkpoints: string | undefined;
  /** Where a copy goes after every step; absent where none is kept. */
  readonly replicas: string | undefined;
}

/** Steps until the last one, or until some rank was asked to stop: all ranks stop after the same step. */
async function trainSteps({
  engine,
  batches,
  steps,
  signal,
  report,
  checkpoints,
  replicas,
}: TrainingLoop): Promise<void> {
  const { interval } = engine.config.checkpoint;
  let result: StepResult | undefined;
  while (engine.steps < steps && !result?.stopAsked) {
    // A step does not yield: signals are heard between steps.
    await turn();
    const { nextBatch } = engine;
    result = engine.trainStep((micro) => batches.microBatch(nextBatch, micro), {
      votesToStop: signal.aborted,
      record: report.recorder(engine.steps + 1),
    });
    report.step(result);
    if (result.nonFinite?.decision === 'rewind' && checkpoints !== undefined) {
      engine.rewind(checkpoints);
      report.rewound();
      continue;
    }
    // The end of the run has a checkpoint of its own.
    const isDue = interval !== undefined && engine.steps % interval === 0 && engine.steps < steps;
    if (isDue && checkpoints !== undefined && !result.stopAsked) engine.save(checkpoints);
    report.checkpoints();
    if (replicas !== undefined) engine.replicate(replicas);
  }
}
