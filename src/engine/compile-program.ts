import type { ActiveCompression } from '../comm/config.js';
import { axisRanks, type Mesh, sequenceRanks } from '../comm/mesh.js';
import type { StagesOf } from '../comm/process-group.js';
import type { FlatLayout } from '../nn/flat-layout.js';
import { type OffloadStateOptions, offloadState } from '../offload/offload-state.js';
import { agreeOverStages } from '../pipeline/agree-over-stages.js';
import { completeTied } from '../pipeline/complete-tied.js';
import type { ScheduleName } from '../pipeline/schedule.js';
import { scheduleStages } from '../pipeline/schedule-stages.js';
import type { Precision } from '../precision/config.js';
import { leaveOutOverflow, type OverflowCheck, overflowCheckOf } from '../precision/leave-out-overflow.js';
import { mixedPrecision } from '../precision/mixed-precision.js';
import { offloadKeptInputs } from '../recompute/offload-kept-inputs.js';
import { recomputeBlocks } from '../recompute/recompute-blocks.js';
import { divideInGroups } from '../redundancy/divide-in-groups.js';
import { type ReplicaMeeting, separateReplicas, synchronizeReplicas } from '../redundancy/local-replicas.js';
import { secondaryCopies } from '../redundancy/secondary-copies.js';
import { sumOverGroups } from '../redundancy/sum-over-groups.js';
import { emptyProgram, laidOut } from '../step/empty-program.js';
import { type ScheduleOptions, schedule } from '../step/passes/schedule.js';
import { shareSequences } from '../step/passes/share-sequences.js';
import type { Groups, Pass, PipelineStage, Program, ProgramBlock } from '../step/program.js';
import { completeGradients } from '../tensor-parallel/complete-gradients.js';
import { type CompressReductionsOptions, compressReductions } from '../zero/compress-reductions.js';
import {
  type ExchangeMomentumOptions,
  exchangeMomentum,
  reserveMomentum,
} from '../zero/exchange-momentum.js';
import { type GatherParametersOptions, gatherParameters } from '../zero/gather-parameters.js';
import { keepErrors } from '../zero/keep-errors.js';
import { limitInFlight } from '../zero/limit-in-flight.js';
import { nameAlgorithms } from '../zero/name-algorithms.js';
import { quantizeGathers } from '../zero/quantize-gathers.js';
import { quantizeScatters } from '../zero/quantize-scatters.js';
import { type ReduceGradientsOptions, reduceGradients } from '../zero/reduce-gradients.js';
import { scatterGradients } from '../zero/scatter-gradients.js';
import { type ShardStateOptions, shardState } from '../zero/shard-state.js';

/** Everything that decides what a rank's step program looks like, as plain data. */
export interface ProgramInputs {
  readonly rank: number;
  /** The ranks along each axis, all together the world. */
  readonly mesh: Mesh;
  readonly goal: Program['goal'];
  readonly microBatches: number;
  /** One per block of the model, in order. */
  readonly blocks: readonly Omit<ProgramBlock, 'parameters'>[];
  /** Of a stage: its own blocks' parameters, and no others. */
  readonly layout: FlatLayout;
  /** Absent: every rank runs all blocks. */
  readonly pipeline?: PipelineInputs;
  readonly bytesPerElement: number;
  readonly batchBytes: number;
  readonly optimizerBytes: number;
  readonly constantBytes?: number;
  readonly readsInPlace?: boolean;
  /** Absent: sums over all ranks take no messages of ours. */
  readonly stagesOf?: StagesOf;
  /** How many ranks of the data axis share each sequence; left out: 1. */
  readonly sequenceSize?: number;
  readonly hostIsApart?: boolean;
  readonly schedule: ScheduleOptions;
  /** Blocks that run their forward again in backward. */
  readonly recomputed: ReadonlySet<number>;
  /** Where their inputs lie from forward to backward; left out: on the device. */
  readonly keptInputs?: 'device' | 'host';
  readonly gradients: ReduceGradientsOptions;
  /** Absent: every rank has all of the training state. */
  readonly zero?: ZeroOptions;
  /** Ranks of a group that has all of the training state; absent: all data-parallel ranks together have it. */
  readonly groupSize?: number;
  /** Ranks that divide a second copy of the parameters; absent: there is none. */
  readonly secondarySize?: number;
  /** Absent: all of the training state is on the device. */
  readonly offload?: OffloadStateOptions;
  /** Absent: gradients travel as they are. */
  readonly compression?: CompressReductionsOptions;
  /** How parameters travel where they are divided; absent: as blocks compute with them. */
  readonly quantizedWeights?: ActiveCompression;
  /** How the sums of hosts travel to other hosts; absent: as all gradients do. */
  readonly quantizedGradients?: ActiveCompression;
  /** Absent: gradients are summed throughout. */
  readonly momentum?: MomentumOptions;
  /** Absent: all ranks train one model. */
  readonly replicas?: ReplicaOptions;
  /** The ranks of each host. */
  readonly hosts?: Program['hosts'];
  readonly precision: Precision;
  /** When the update is left out; absent: as the precision has it. */
  readonly overflowCheck?: OverflowCheck;
}

/** The stage of this rank, and the order in which the stages work. */
export interface PipelineInputs {
  readonly place: PipelineStage;
  readonly schedule: ScheduleName;
  /** The stages with the same parameter, where blocks of several are tied. */
  readonly tied: readonly number[];
}

/** Of an optimizer whose ranks exchange a momentum, once it is frozen. */
export interface MomentumOptions extends ExchangeMomentumOptions {
  readonly isFrozen: boolean;
}

/** Of ranks that train a model each. */
export interface ReplicaOptions {
  /** Absent: they never meet. */
  readonly meeting?: ReplicaMeeting;
}

/** How the training state is divided (ZeRO). */
export type ZeroOptions = Omit<ShardStateOptions, 'ranges'> & GatherParametersOptions;

/**
 * Compiles one rank's training step. The only place that sees all the passes: their order is written here
 * and nowhere else.
 */
export function compileProgram(inputs: ProgramInputs): Program {
  const passes: readonly Pass[] = [
    inputs.pipeline === undefined
      ? schedule(inputs.schedule)
      : scheduleStages({ schedule: inputs.pipeline.schedule, ...inputs.schedule }),
    recomputeBlocks(inputs.recomputed),
    ...(inputs.keptInputs === 'host' ? [offloadKeptInputs] : []),
    completeGradients(inputs.layout),
    completeTied(inputs.layout),
    ...dataParallelPasses(inputs),
    shareSequences,
    agreeOverStages,
    mixedPrecision(inputs.precision),
    leaveOutOverflow(inputs.overflowCheck ?? overflowCheckOf(inputs.precision)),
    keepErrors(),
  ];
  return passes.reduce((program, pass) => pass(program), unscheduled(inputs));
}

function dataParallelPasses(inputs: ProgramInputs): readonly Pass[] {
  const { momentum, replicas } = inputs;
  if (replicas !== undefined) return replicaPasses(replicas);
  if (momentum === undefined) return gradientPasses(inputs);
  const passes = momentum.isFrozen ? momentumPasses(inputs, momentum) : gradientPasses(inputs);
  return [...passes, reserveMomentum(momentum)];
}

function replicaPasses({ meeting }: ReplicaOptions): readonly Pass[] {
  return [separateReplicas(meeting), ...(meeting?.synchronizes ? [synchronizeReplicas] : [])];
}

/** Gradients stay with their ranks. */
function momentumPasses(
  { zero, layout, gradients }: ProgramInputs,
  momentum: MomentumOptions,
): readonly Pass[] {
  const exchange = exchangeMomentum(momentum);
  const limit = limitInFlight(gradients.overlap ? MOST_COMPRESSED : 0);
  return zero === undefined
    ? [exchange, limit]
    : [shardState({ ...zero, ranges: layout.ranges }), exchange, limit, gatherParameters(zero)];
}

function gradientPasses(inputs: ProgramInputs): readonly Pass[] {
  const { zero, layout, gradients, compression, quantizedGradients, quantizedWeights, stagesOf } = inputs;
  const { groupSize, secondarySize } = inputs;
  const compress = compression === undefined ? [] : [compressReductions(compression)];
  const limit = limitInFlight(mostInFlight(inputs));
  if (zero === undefined) {
    return [reduceGradients(gradients), ...compress, ...(stagesOf ? [nameAlgorithms(stagesOf)] : []), limit];
  }
  if (inputs.offload !== undefined && inputs.mesh.data === 1)
    return loneOffloadPasses(inputs, zero, inputs.offload);
  return [
    ...(groupSize === undefined ? [] : [divideInGroups(groupSize)]),
    shardState({ ...zero, ranges: layout.ranges }),
    scatterGradients,
    limit,
    sumOverGroups(gradients.overlap),
    ...compress,
    ...(quantizedGradients ? [quantizeScatters(quantizedGradients)] : []),
    gatherParameters(zero),
    ...(quantizedWeights ? [quantizeGathers(quantizedWeights)] : []),
    ...(secondarySize === undefined ? [] : [secondaryCopies(secondarySize)]),
    ...(inputs.offload === undefined ? [] : [offloadState(inputs.offload)]),
  ];
}

/** A rank that divides with nobody has slices all the same, to have them elsewhere; nothing travels. */
function loneOffloadPasses(
  { layout }: ProgramInputs,
  zero: ZeroOptions,
  offload: OffloadStateOptions,
): readonly Pass[] {
  return [
    shardState({ ...zero, ranges: layout.ranges, dividesAlone: true }),
    scatterGradients,
    limitInFlight(0),
    // There is nothing to wait for: a block that is whole before it is used takes memory.
    gatherParameters({ ...zero, overlap: false }),
    offloadState(offload),
  ];
}

/** One that travels and one that is ready to. */
const MOST_WITH_MESSAGES = 2;
/** A compressed all-reduce has three stages that can go on under backward. */
const MOST_COMPRESSED = 3;

/** Reductions that may be on their way at once: those that take no memory of their own are not counted. */
function mostInFlight({ zero, gradients, compression }: ProgramInputs): number {
  if (!gradients.overlap) return 0;
  if (zero !== undefined || gradients.ordered === true) return MOST_WITH_MESSAGES;
  return compression === undefined ? Number.POSITIVE_INFINITY : MOST_COMPRESSED;
}

/** What all passes start from. */
function unscheduled(inputs: ProgramInputs): Program {
  return emptyProgram({
    rank: inputs.rank,
    worldSize: inputs.mesh.pipeline * inputs.mesh.data * inputs.mesh.tensor,
    goal: inputs.goal,
    microBatches: inputs.microBatches,
    ...laidOut(inputs.blocks, inputs.layout),
    bytesPerElement: inputs.bytesPerElement,
    batchBytes: inputs.batchBytes,
    optimizerBytes: inputs.optimizerBytes,
    constantBytes: inputs.constantBytes ?? 0,
    readsInPlace: inputs.readsInPlace ?? false,
    hostIsApart: inputs.hostIsApart ?? false,
    groups: groupsOf(inputs),
    ...(inputs.pipeline && { pipeline: inputs.pipeline.place }),
    ...(inputs.hosts && { hosts: inputs.hosts }),
  });
}

/** Of the axes, those that have more than one rank. */
function groupsOf(inputs: ProgramInputs): Groups {
  const { mesh, rank, sequenceSize = 1 } = inputs;
  return {
    data: axisRanks(mesh, rank, 'data'),
    ...(sequenceSize > 1 && { sequence: sequenceRanks(mesh, rank, sequenceSize) }),
    ...(mesh.pipeline > 1 && { pipeline: axisRanks(mesh, rank, 'pipeline') }),
    ...tiedGroup(inputs),
    ...(mesh.tensor > 1 && { tensor: axisRanks(mesh, rank, 'tensor') }),
  };
}

/** Where this rank's stage has a parameter that others have too. */
function tiedGroup({ mesh, rank, pipeline }: ProgramInputs): Pick<Groups, 'tied'> {
  if (pipeline === undefined || !pipeline.tied.includes(pipeline.place.stage)) return {};
  return { tied: tiedRanks(mesh, rank, pipeline.tied) };
}

/** The ranks of some stages in this rank's pipeline. */
export function tiedRanks(mesh: Mesh, rank: number, stages: readonly number[]): readonly number[] {
  const ranks = axisRanks(mesh, rank, 'pipeline');
  return stages.flatMap((stage) => ranks[stage] ?? []);
}
