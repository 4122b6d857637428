import { setImmediate as turn } from 'node:timers/promises';
import { TrainyardError } from '../base/errors.js';
import type { BatchSource } from '../data/batch-source.js';
import type { Tokenizer } from '../data/tokenizer.js';
import type { RankEnvironment } from '../launch/environment.js';
import type { EventSink } from '../launch/events.js';
import { checkpointsIn } from './checkpoints-in.js';
import { type LoadedConfig, loadConfig } from './config.js';
import { demandOutput } from './demand-output.js';
import type { Engine, StepResult } from './engine.js';
import { hostNotes } from './hosts.js';
import { buildEngine } from './initialize.js';
import { type ModelSource, openModel } from './model-source.js';
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
  if (environment.rank === 0) demandOutput(loaded, options.timeline);
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
  const engine = buildEngine({ config, source, world, sequenceLength, data: data.identity });

  if (resumed !== undefined) resume(engine, resumed, loaded, sink);

  const report = new TrainingReport({ config, engine, sink, sequenceLength, timeline });
  report.begin();
  await trainSteps({ engine, batches, steps: config.steps, signal, report });
  // Replicas that never meet are stopped at steps of their own: they all go as far as the first of them has come.
  const steps = engine.furthestStep();
  await trainSteps({ engine, batches, steps, signal: new AbortController().signal, report });
  const stopped = engine.steps < config.steps;
  if (config.output !== undefined) {
    const folder = save(engine, config.output, data.tokenizer, sink);
    const message = `stopped after step ${engine.steps}; --resume goes on from ${folder}`;
    if (stopped && engine.rank === 0) sink({ event: 'log', level: 'info', message });
  }
  report.finish(stopped);
  engine.close();
}

/** Goes on from the newest checkpoint, if there is one. */
function resume(engine: Engine, output: string, { config, origin }: TrainingConfig, sink: EventSink): void {
  const found = engine.load(checkpointsIn(output));
  demandStepsToDo(engine, config.steps, origin.describe(['steps'], 'value'));
  if (engine.rank !== 0) return;
  for (const { tag, reason } of found?.passedOver ?? []) {
    sink({ event: 'log', level: 'warning', message: `the checkpoint ${tag} cannot be used: ${reason}` });
  }
  for (const message of found?.notes ?? []) sink({ event: 'log', level: 'warning', message });
  const message = found ? `resumed after step ${engine.steps}` : 'no checkpoint yet: starting at step 1';
  sink({ event: 'log', level: 'info', message });
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
  return engine.save(checkpointsIn(output));
}

interface TrainingLoop {
  readonly engine: Engine;
  readonly batches: BatchSource;
  readonly steps: number;
  readonly signal: AbortSignal;
  readonly report: TrainingReport;
}

/** Steps until the last one, or until some rank was asked to stop: all ranks stop after the same step. */
async function trainSteps({ engine, batches, steps, signal, report }: TrainingLoop): Promise<void> {
  let result: StepResult | undefined;
  while (engine.steps < steps && !result?.stopAsked) {
    // A step does not yield: signals are heard between steps.
    await turn();
    const step = engine.steps;
    result = engine.trainStep((micro) => batches.microBatch(step, micro), {
      votesToStop: signal.aborted,
      record: report.recorder(step + 1),
    });
    report.step(result);
  }
}
