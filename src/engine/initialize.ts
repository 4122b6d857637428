import { env } from '../base/env.js';
import { invariant, TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';
import type { DataIdentity } from '../data/open-dataset.js';
import { rankEnvironment, singleRank } from '../launch/environment.js';
import type { Model } from '../nn/block.js';
import { type FlatLayout, planFlatLayout } from '../nn/flat-layout.js';
import type { TrainingStores } from '../offload/training-stores.js';
import { createSchedule } from '../optim/lr-schedules.js';
import { precisionOf } from '../precision/config.js';
import { synchronizationOf } from '../redundancy/config.js';
import type { Sharding } from '../step/program.js';
import type { DType } from '../tensor/dtype.js';
import { manualSeed } from '../tensor/random.js';
import { type ResolvedConfig, resolveObject, type UserConfig } from './config.js';
import { demandSameConfiguration } from './demand-same-configuration.js';
import { Engine } from './engine.js';
import { TrainingErrors } from './error-memory.js';
import { fillParameters, streamSeed } from './fill-parameters.js';
import { openFrozenMemory, shareTables } from './frozen-memory.js';
import { HostConstants } from './host-constants.js';
import { hostNotes } from './hosts.js';
import { lossScalingOf } from './loss-scaling.js';
import { inForm, type ModelSource, openModel } from './model-source.js';
import { openOptimizer, tilesOf } from './open-optimizer.js';
import { openTiers } from './open-tiers.js';
import { OuterState } from './outer-state.js';
import { linkPrograms } from './program-links.js';
import { planRank } from './rank-plan.js';
import { runIdentity } from './run-identity.js';
import type { StagePlan } from './stage-plan.js';
import { StepPrograms } from './step-programs.js';
import { ownersIn, TrainingMemory } from './training-memory.js';
import { joinWorld, type World } from './world.js';

export interface InitializeOptions {
  /** The run's configuration, as in a JSON file. */
  readonly config: UserConfig;
  /** A model of one's own blocks, in place of the configuration's `model`. */
  readonly model?: Model;
}

/**
 * Builds an engine for this process: alone, or as one rank of several when a launcher has set RANK and
 * WORLD_SIZE (ours, torchrun's). Every rank must call it; it returns when all have met.
 *
 * @throws TrainyardError for a wrong configuration or model, CONFIG_CONFLICT for two models, or when the ranks do
 * not meet.
 */
export function initialize({ config: written, model }: InitializeOptions): Engine {
  const place = rankEnvironment(env.variables) ?? singleRank();
  const { worldSize } = place;
  const requires = model === undefined ? (['model'] as const) : [];
  const { config, notes } = resolveObject(written, { worldSize, requires });
  const source = modelOf(config, model);
  const world = joinWorld(config, place);
  for (const note of place.rank === 0
    ? [...notes, ...(world.notes ?? []), ...hostNotes(config, world.hosts)]
    : []) {
    emitWarning(note);
  }
  return buildEngine({ config, source, world });
}

function emitWarning(message: string): void {
  process.emitWarning(message, 'TrainyardWarning');
}

/** The model that a run trains: the one that its configuration names, or one of the own blocks of a program. */
export function modelOf(config: ResolvedConfig, own: Model | undefined): ModelSource {
  const { model: named } = config;
  if (named !== undefined && own !== undefined) throw twoModels(own);
  if (own !== undefined) return inForm({ model: own }, config);
  invariant(named !== undefined, 'the configuration has to name a model where none is given');
  return openModel({ ...config, model: named });
}

function twoModels({ architecture }: Model): TrainyardError {
  return new TrainyardError('CONFIG_CONFLICT', {
    what: 'There are two models: the one given to initialize, and the one that its configuration names.',
    where: 'model',
    got: `a model called ${quote(architecture)}, and config.model`,
    cure: 'Remove one of the two.',
  });
}

/** How far replicas may be apart in time that never meet before the end. */
const LONGEST_TRAINING_MS = 7 * 24 * 60 * 60 * 1000;

/** What an engine is built from. */
export interface EngineSources {
  readonly config: ResolvedConfig;
  readonly source: ModelSource;
  readonly world: World;
  /** For the program's estimates; left out: what the configuration says, or the usual. */
  readonly sequenceLength?: number;
  /** The data that it will train on, where that is known: checkpoints remember it. */
  readonly data?: DataIdentity;
  /** Says something to the people who train; left out: as a warning of this process. */
  readonly warn?: (message: string) => void;
}

/**
 * Puts the parts together: a checked program first, then memory, weights and optimizer. Every rank must call it.
 *
 * @throws TrainyardError CONFIG_CONFLICT where the ranks' configurations differ
 */
export function buildEngine(sources: EngineSources): Engine {
  const { config, source, world, sequenceLength, data, warn = emitWarning } = sources;
  const { group, axes, flight, device } = world;
  demandSameConfiguration(group, config);
  const plan = planRank({ config, source, world, sequenceLength });
  const { model, stages } = plan;
  const { dtype } = precisionOf(config);
  const programs = new StepPrograms(group, { ...plan, goal: 'update' });
  const { sharding, errorFeedback } = programs.program;
  const tiles = tilesOf(programs.program, config, device);
  const stores = openTiers(programs.program, config, group);
  const memory = openMemory({ ...plan, source, sharding, world, dtype, seed: config.seed, stores });
  manualSeed(streamSeed(config.seed, `rank ${group.rank}`));
  const optimizer = openOptimizer(config.optimizer, memory, axes.data, tiles);
  const errors = errorFeedback && new TrainingErrors(errorFeedback, device);
  const synchronization = synchronizationOf(config.redundancy);
  const outer = synchronization && new OuterState(synchronization.outer, memory, group);
  const schedule = createSchedule(config.scheduler, config.optimizer.params.lr);
  const identity = runIdentity(config, source, data);
  const lossScaling = lossScalingOf(config, plan.sequenceLength);
  const links = linkPrograms({ world, model, stages, dtype });
  const parts = { config, source, model, links, programs, memory, optimizer, schedule, lossScaling };
  const neverMeets = config.redundancy?.type === 'local' && synchronization === undefined;
  const reunion = neverMeets ? group.withDeadline(LONGEST_TRAINING_MS) : undefined;
  const kept = { ...(errors && { errors }), ...(outer && { outer }) };
  return new Engine({ ...parts, ...kept, group, axes, reunion, flight, device, identity, warn });
}

/** What a rank's memory is made of. */
export interface MemorySources {
  readonly source: ModelSource;
  /** What this rank computes of it; left out: all. */
  readonly model?: Model;
  readonly layout: FlatLayout;
  /** Absent: every rank has all blocks. */
  readonly stages?: StagePlan | undefined;
  readonly sharding: Sharding | undefined;
  readonly world: World;
  /** What blocks compute with. */
  readonly dtype: DType;
  readonly seed: number;
  readonly sequenceLength: number;
  /** What of the training state lies in other tiers; left out: nothing. */
  readonly stores?: TrainingStores | undefined;
}

/** Takes the memory that a program needs and fills it: constants once per host, the rest on each rank. */
export function openMemory(sources: MemorySources): TrainingMemory {
  const {
    source,
    layout,
    sharding,
    world,
    dtype,
    seed,
    sequenceLength,
    model = source.model,
    stages,
    stores,
  } = sources;
  const { group, axes, device } = world;
  // What lies on a GPU, no other process can see.
  const host = device === 'cpu' ? new HostConstants(group) : undefined;
  if (host !== undefined) shareTables(host, model, sequenceLength);
  const frozen = host && openFrozenMemory(host, { source, layout, seed, dtype });
  const memory = new TrainingMemory({
    layout,
    parameters: ownersIn(planFlatLayout(source.model.blocks)),
    ...(stages && { homeOf: stages.homeOf }),
    sharding,
    axes,
    dtype,
    device,
    ...(frozen && { frozen }),
    stores,
  });
  fillParameters({
    source,
    seed,
    write: (name, values) => memory.fill(memory.slot(name), values),
    wanted: (name) => frozen === undefined || memory.slot(name).trainable,
  });
  return memory;
}
