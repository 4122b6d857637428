import { join } from 'node:path';
import { env } from '../base/env.js';
import { invariant, TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';
import { Flight } from '../comm/flight/flight.js';
import { axisRanks, type Mesh, meshOf } from '../comm/mesh.js';
import type { ProcessGroup } from '../comm/process-group.js';
import { meetRanks } from '../comm/rendezvous.js';
import { hostsAmong, hostsOf } from '../comm/topology.js';
import type { DataIdentity } from '../data/open-dataset.js';
import { type RankEnvironment, rankEnvironment, singleRank } from '../launch/environment.js';
import { threadBudget } from '../launch/threads.js';
import type { Model } from '../nn/block.js';
import { type FlatLayout, planFlatLayout } from '../nn/flat-layout.js';
import type { TensorAxis } from '../nn/tensor-axis.js';
import type { TrainingStores } from '../offload/training-stores.js';
import { createSchedule } from '../optim/lr-schedules.js';
import { precisionOf } from '../precision/config.js';
import { synchronizationOf } from '../redundancy/config.js';
import type { Program, Sharding } from '../step/program.js';
import type { Device, DType } from '../tensor/dtype.js';
import { manualSeed } from '../tensor/random.js';
import { setThreads } from '../tensor/threads.js';
import { exchangesOf } from './block-exchanges.js';
import { defaultSequenceLength } from './compile-step.js';
import { type ResolvedConfig, resolveObject, type UserConfig } from './config.js';
import { dataRanks } from './data-ranks.js';
import { demandSameConfiguration } from './demand-same-configuration.js';
import { deviceOf } from './device.js';
import { Engine } from './engine.js';
import { TrainingErrors } from './error-memory.js';
import { fillParameters, streamSeed } from './fill-parameters.js';
import { openFrozenMemory, shareTables } from './frozen-memory.js';
import { groupAxis } from './group-axis.js';
import { HostConstants } from './host-constants.js';
import { hostNotes, hostsOfRanks, severalEqualHosts } from './hosts.js';
import { localModel } from './local-model.js';
import { lossScalingOf } from './loss-scaling.js';
import { connectMesh, type MeshGroups } from './mesh-groups.js';
import { inForm, type ModelSource, openModel } from './model-source.js';
import { openOptimizer, tilesOf } from './open-optimizer.js';
import { openTiers } from './open-tiers.js';
import { OuterState } from './outer-state.js';
import { linkPrograms } from './program-links.js';
import { runIdentity } from './run-identity.js';
import { stageCosts } from './stage-costs.js';
import { planStages, type StagePlan } from './stage-plan.js';
import { StepPrograms } from './step-programs.js';
import { ownersIn, TrainingMemory } from './training-memory.js';

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
    process.emitWarning(note, 'TrainyardWarning');
  }
  return buildEngine({ config, source, world });
}

function modelOf(config: ResolvedConfig, own: Model | undefined): ModelSource {
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

/** This process among the ranks: how it reaches them, and what it computes on. */
export interface World {
  /** All ranks. */
  readonly group: ProcessGroup;
  readonly mesh: Mesh;
  /** Those along each axis of the mesh. */
  readonly axes: MeshGroups;
  /** Connects some of the ranks; as `Ranks.among`, whichever hosts they are on. */
  readonly among: (name: string, members: readonly number[]) => ProcessGroup;
  /** Remembers its collectives; absent in a world of one. */
  readonly flight?: Flight | undefined;
  readonly device: Device;
  /** Of the ranks along the data axis those of each host, where there are several with equally many. */
  readonly hosts?: Program['hosts'];
  /** What came otherwise than it might have. */
  readonly notes?: readonly string[];
}

/**
 * Takes this process's place among the ranks, and its share of the cores.
 *
 * @throws TrainyardError RENDEZVOUS_FAILED, or CONFIG_CONFLICT without a device for this rank.
 */
export function joinWorld(
  config: Pick<ResolvedConfig, 'communication' | 'device'> &
    Partial<Pick<ResolvedConfig, 'output' | 'mesh' | 'redundancy' | 'sequence_parallel_size'>>,
  place: RankEnvironment,
): World {
  const { cores, threadsPerRank } = threadBudget(place.localWorldSize, env.variables);
  setThreads(threadsPerRank);
  const device = deviceOf(config.device, place.localRank);
  const timeoutMs = config.communication.timeout_seconds * 1000;
  const { algorithm, topology, deterministic } = config.communication;
  const notes: string[] = [];
  const exchange = {
    ...place,
    // What is on a GPU is in no memory that processes share.
    algorithm: device === 'cpu' ? algorithm : 'backend',
    hosts: topology && hostsOf(topology, place.worldSize),
    inOrder: deterministic,
    onNote: (note: string): void => void notes.push(note),
    cores,
    threadsPerRank,
  } as const;
  const flight = place.worldSize === 1 ? undefined : openFlight(config.output, place);
  const ranks = meetRanks({ ...place, timeoutMs, flight, exchange });
  const { world: group } = ranks;
  const mesh = meshOf(config.mesh ?? { pipeline: 1, tensor: 1 }, place.worldSize);
  const hosts = hostsOfRanks(group, place, topology);
  const axes = connectMesh(ranks, mesh, config, hosts);
  const regular = severalEqualHosts(hostsAmong(hosts, axisRanks(mesh, place.rank, 'data')));
  const among = (name: string, members: readonly number[]) => ranks.among(name, members, hosts);
  return { group, mesh, axes, among, flight, device, ...(regular && { hosts: regular }), notes };
}

function openFlight(output: string | undefined, { runId: run, rank, worldSize }: RankEnvironment): Flight {
  return new Flight({ run, rank, worldSize }, output && join(output, 'flight'));
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
}

/**
 * Puts the parts together: a checked program first, then memory, weights and optimizer. Every rank must call it.
 *
 * @throws TrainyardError CONFIG_CONFLICT where the ranks' configurations differ
 */
export function buildEngine({ config, source, world, sequenceLength, data }: EngineSources): Engine {
  const { group, axes, flight, device } = world;
  demandSameConfiguration(group, config);
  const model = localModel(source, config, tensorAxis(config, world));
  const length = sequenceLength ?? config.data?.sequence_length ?? defaultSequenceLength(model);
  const stages = planStages({
    config,
    model,
    costs: stageCosts(group, { config, model, sequenceLength: length }),
  });
  const layout =
    stages?.stages[axes.pipeline.rank]?.layout ?? planFlatLayout(model.blocks, undefined, dataRanks(config));
  const { dtype } = precisionOf(config);
  const programs = new StepPrograms(group, {
    config,
    model,
    layout,
    stages,
    exchanges: exchangesOf(source, config, dtype),
    goal: 'update',
    readsInPlace: axes.shard.readsInPlace,
    stagesOf: axes.data.stagesOf,
    ...(world.hosts && { hosts: world.hosts }),
    sequenceLength: length,
  });
  const { sharding, errorFeedback } = programs.program;
  const tiles = tilesOf(programs.program, config, device);
  const memory = openMemory({
    source,
    model,
    layout,
    stages,
    sharding,
    world,
    dtype,
    seed: config.seed,
    sequenceLength: length,
    stores: openTiers(programs.program, config, group),
  });
  manualSeed(streamSeed(config.seed, `rank ${group.rank}`));
  const optimizer = openOptimizer(config.optimizer, memory, axes.data, tiles);
  const errors = errorFeedback && new TrainingErrors(errorFeedback, device);
  const synchronization = synchronizationOf(config.redundancy);
  const outer = synchronization && new OuterState(synchronization.outer, memory, group);
  const schedule = createSchedule(config.scheduler, config.optimizer.params.lr);
  const identity = runIdentity(config, source, data);
  const lossScaling = lossScalingOf(config, length);
  const links = linkPrograms({ world, model, stages, dtype });
  const parts = { config, source, model, links, programs, memory, optimizer, schedule, lossScaling };
  const neverMeets = config.redundancy?.type === 'local' && synchronization === undefined;
  const reunion = neverMeets ? group.withDeadline(LONGEST_TRAINING_MS) : undefined;
  const kept = { ...(errors && { errors }), ...(outer && { outer }) };
  return new Engine({ ...parts, ...kept, group, axes, reunion, flight, device, identity });
}

/** The axis over which the matrices of this rank's layers are divided; undefined where they are whole. */
export function tensorAxis({ mesh }: Pick<ResolvedConfig, 'mesh'>, { axes }: World): TensorAxis | undefined {
  return mesh.tensor === 1 ? undefined : groupAxis(axes.tensor, mesh.sequence_parallel);
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
