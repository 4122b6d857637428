import { invariant, TrainyardError } from '../base/errors.js';
import { type ActiveCompression, completeCompression } from '../comm/config.js';
import { axisRanks, type Mesh, placeOf } from '../comm/mesh.js';
import type { StagesOf } from '../comm/process-group.js';
import type { Model } from '../nn/block.js';
import type { FlatLayout } from '../nn/flat-layout.js';
import { optimizerStateCount } from '../optim/optimizer.js';
import { precisionOf } from '../precision/config.js';
import { chooseBlocks } from '../recompute/choose-blocks.js';
import { synchronizationOf } from '../redundancy/config.js';
import type { BlockCosts } from '../step/block-meter.js';
import { followValues } from '../step/checker/data-flow.js';
import { checkPrograms, type ProgramReport } from '../step/checker.js';
import type { AxisExchange, BlockExchanges, Program } from '../step/program.js';
import {
  compileProgram,
  type ProgramInputs,
  type ReplicaOptions,
  type ZeroOptions,
} from './compile-program.js';
import type { ResolvedConfig } from './config.js';
import { dataRanks } from './data-ranks.js';
import { constantBytes } from './frozen-memory.js';
import { measureBlocks } from './measure-blocks.js';
import { demandMemory } from './memory-limit.js';
import { offloadOptions } from './offload-options.js';
import type { OptimizerPhase } from './optimizer-phase.js';
import { outerTensorCount } from './outer-state.js';
import { ownShape } from './own-positions.js';
import { loneSequenceAxis } from './sequence-axes.js';
import type { StagePlan } from './stage-plan.js';

/** What a step is compiled from. */
export interface StepToCompile {
  readonly config: ResolvedConfig;
  readonly model: Model;
  /** Of this rank's stage. */
  readonly layout: FlatLayout;
  /** Absent: every rank runs all blocks. */
  readonly stages?: StagePlan | undefined;
  /** What blocks exchange within themselves for each token of this rank; absent: nothing. */
  readonly exchanges?: readonly BlockExchanges[] | undefined;
  readonly goal: Program['goal'];
  readonly sequenceLength: number;
  /** As the ranks' process group has it; left out: messages take memory. */
  readonly readsInPlace?: boolean;
  /** How that group makes sums over all ranks, where it has algorithms of our own. */
  readonly stagesOf?: StagesOf | undefined;
  /** The ranks of each host; left out: all are on one. */
  readonly hosts?: Program['hosts'];
  /** Where the optimizer stands, if that makes a difference; left out: at its beginning. */
  readonly phase?: OptimizerPhase;
  /** Whether the step ends with a synchronisation of replicas; left out: no. */
  readonly synchronizes?: boolean;
  /** What the blocks take when they are tried alone, where that is known already. */
  readonly tried?: readonly BlockCosts[];
  /** What the blocks took in a step of this run. Left out: what they take when they are tried alone. */
  readonly measured?: readonly BlockCosts[];
  /** Elements of gradients below which no message is closed or cut; 0 where left out. */
  readonly mergedElements?: number;
  /** Bytes that a budget must leave to tensors that no program lists (tables of a model); 0 where left out. */
  readonly unlistedBytes?: number;
  /** The blocks to recompute, whatever the policy says. */
  readonly recomputed?: ReadonlySet<number>;
  /** Bytes that `memory_limit` must leave to what a process has beside the tensors of its program; 0 where left out. */
  readonly processBytes?: number;
}

const FLOAT32_BYTES = 4;
const INT64_BYTES = 8;

/** DeepSpeed's number of bits; its blocks are of about 8000 values, ours keep more of what is small. */
const QUANTIZED_WEIGHTS: ActiveCompression = { type: 'int8', block_size: 128 };
const QUANTIZED_GRADIENTS: ActiveCompression = { type: 'int4', block_size: 128 };

/** The sequence length of a run whose configuration says none: the model's longest, at most 1024. */
export function defaultSequenceLength(model: Model): number {
  return Math.min(1024, model.maximumLength ?? 1024);
}

/** The step programs of all ranks, checked against each other. */
export interface CompiledStep {
  readonly programs: readonly Program[];
  readonly reports: readonly ProgramReport[];
  program(rank: number): Program;
}

/**
 * Compiles the step programs of all ranks and checks them together.
 *
 * @throws TrainyardError PROGRAM_INVALID when one could not run, CONFIG_CONFLICT for a limit or a budget
 * that is too small.
 */
export function compileStep(step: StepToCompile): CompiledStep {
  const { config, measured, unlistedBytes = 0 } = step;
  const costs = measured ?? step.tried ?? tryBlocks(step);
  const recomputed =
    step.recomputed ??
    chooseBlocks(lessened(config.recompute, unlistedBytes), {
      compile: (blocks) => fullestStage(step, costs, blocks),
      forwardTimes: measured?.map(({ forwardMs }) => forwardMs),
    });
  const { pipeline, data, tensor } = meshOfConfig(config);
  const programs = Array.from({ length: pipeline * data * tensor }, (_, rank) =>
    compileForRank(step, costs, recomputed, rank),
  );
  const reports = checkPrograms(programs);
  checkLimit(config, reports);
  demandMemory({
    config,
    peakBytes: highestPeak(reports),
    processBytes: step.processBytes ?? 0,
    peakWith: (changed) => peakWith(step, costs, changed),
  });
  return {
    programs,
    reports,
    program(rank) {
      const program = programs[rank];
      invariant(program, `rank ${rank} has no program`);
      return program;
    },
  };
}

function highestPeak(reports: readonly ProgramReport[]): number {
  return Math.max(...reports.map(({ peak }) => peak.bytes));
}

/** Of the first rank of a step with another configuration, which stands for all. */
function peakWith(step: StepToCompile, costs: readonly BlockCosts[], config: ResolvedConfig): number {
  const changed = { ...step, config };
  const compile = (blocks: ReadonlySet<number>): Program => compileForRank(changed, costs, blocks, 0);
  return followValues(compile(chooseBlocks(config.recompute, { compile }))).bytes;
}

/** Tries each block of the model alone. */
export function tryBlocks({
  config,
  model,
  sequenceLength,
}: Pick<StepToCompile, 'config' | 'model' | 'sequenceLength'>): readonly BlockCosts[] {
  const { mesh, pipeline, sequence_parallel_size: sharing } = config;
  return measureBlocks(model, ownShape(config, sequenceLength), {
    dtype: precisionOf(config).dtype,
    inHalves: mesh.pipeline > 1 && pipeline.schedule === 'zero-bubble',
    sequenceAxis: loneSequenceAxis(sharing),
  });
}

function lessened(policy: ResolvedConfig['recompute'], bytes: number): ResolvedConfig['recompute'] {
  return policy.policy === 'budget' ? { ...policy, budget_bytes: policy.budget_bytes - bytes } : policy;
}

/** The choice went as low as its policy can: where that exceeds the limit, nothing fits. */
function checkLimit({ recompute }: ResolvedConfig, reports: readonly ProgramReport[]): void {
  const limit = memoryLimit(recompute);
  const least = highestPeak(reports);
  if (limit === undefined || least <= limit.bytes) return;
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: `A step does not fit its ${limit.noun}, whatever is recomputed.`,
    where: limit.key,
    expected: `at least ${least} bytes; \`trainyard program\` prints what takes them`,
    got: `${limit.bytes} bytes`,
    cure: `Raise the ${limit.noun}, or make the micro-batch smaller.`,
  });
}

/** What a policy says a step may take. */
function memoryLimit(
  policy: ResolvedConfig['recompute'],
): { readonly key: string; readonly noun: string; readonly bytes: number } | undefined {
  switch (policy.policy) {
    case 'on-demand':
      return { key: 'recompute.limit_bytes', noun: 'limit', bytes: policy.limit_bytes };
    case 'budget':
      return { key: 'recompute.budget_bytes', noun: 'budget', bytes: policy.budget_bytes };
    case 'none':
    case 'always':
    case 'selected':
      return undefined;
    default:
      return policy satisfies never;
  }
}

/** Of the stages' programs the one with the highest peak. */
function fullestStage(
  step: StepToCompile,
  costs: readonly BlockCosts[],
  blocks: ReadonlySet<number>,
): Program {
  const mesh = meshOfConfig(step.config);
  const programs = axisRanks(mesh, 0, 'pipeline').map((rank) => compileForRank(step, costs, blocks, rank));
  const peaks = programs.map((program) => (programs.length === 1 ? 0 : followValues(program).bytes));
  const fullest = programs[peaks.indexOf(Math.max(...peaks))];
  invariant(fullest, 'a mesh has a first stage');
  return fullest;
}

function compileForRank(
  {
    config,
    model,
    layout: ownLayout,
    stages,
    exchanges,
    goal,
    sequenceLength,
    readsInPlace = false,
    stagesOf,
    hosts,
    phase = 'warm-up',
    synchronizes = false,
    mergedElements = 0,
  }: StepToCompile,
  costs: readonly BlockCosts[],
  recomputed: ReadonlySet<number>,
  rank: number,
): Program {
  const { rows, length } = ownShape(config, sequenceLength);
  const { zero_optimization: zero, gradient_clipping: clipping, optimizer, redundancy } = config;
  const compression = completeCompression(config.communication.compression);
  const offload = offloadOptions(config);
  const mesh = meshOfConfig(config);
  const part = stages?.stages[placeOf(mesh, rank).pipeline];
  const layout = part?.layout ?? ownLayout;
  return compileProgram({
    rank,
    mesh,
    ...(part && {
      pipeline: { place: part.place, schedule: config.pipeline.schedule, tied: stages?.tied ?? [] },
    }),
    goal,
    microBatches: config.gradient_accumulation_steps,
    blocks: model.blocks.map(({ name }, index) => {
      const cost = costs[index];
      invariant(cost, `block ${index} was not measured`);
      const { forwardMs: _, ...bytes } = cost;
      const perToken = exchanges?.[index];
      return { name, ...bytes, ...(perToken && { exchanges: exchangesOf(perToken, rows * length) }) };
    }),
    layout,
    bytesPerElement: FLOAT32_BYTES,
    batchBytes: 2 * rows * length * INT64_BYTES,
    optimizerBytes: optimizerStateCount(optimizer) * layout.trainableElements * FLOAT32_BYTES,
    readsInPlace,
    ...(stagesOf && { stagesOf }),
    sequenceSize: config.sequence_parallel_size,
    hostIsApart: config.device !== 'cpu',
    constantBytes: constantBytes(model, layout, sequenceLength, precisionOf(config).dtype),
    schedule: clipping === 0 ? {} : { maximumNorm: clipping },
    recomputed,
    keptInputs: config.activation_checkpointing.cpu_checkpointing ? 'host' : 'device',
    gradients: {
      bucketElements: zero.reduce_bucket_size,
      leastElements: mergedElements,
      overlap: zero.overlap_comm,
      ordered: config.communication.deterministic,
    },
    ...(zero.stage !== 0 && { zero: zeroOptions(config, zero.stage, mergedElements) }),
    ...(redundancy?.type === 'groups' && { groupSize: redundancy.size }),
    ...(redundancy?.type === 'secondary' && { secondarySize: redundancy.size }),
    // Gradients alone are for looking at, and where they are.
    ...(offload && goal === 'update' && { offload }),
    ...(compression.type !== 'none' && { compression: { compression, sequenceLength } }),
    ...(zero.zero_quantized_weights && { quantizedWeights: QUANTIZED_WEIGHTS }),
    ...(zero.zero_quantized_gradients && { quantizedGradients: QUANTIZED_GRADIENTS }),
    ...(optimizer.type === 'OneBitAdam' && {
      momentum: {
        decay: optimizer.params.betas[0],
        bucketElements: zero.reduce_bucket_size,
        leastElements: mergedElements,
        isFrozen: phase !== 'warm-up',
        isWhole: phase === 'frozen',
      },
    }),
    // Gradients alone are those of the whole batch, whoever would have used them.
    ...(goal === 'update' &&
      redundancy?.type === 'local' && { replicas: replicaOptions(config, synchronizes) }),
    ...(hosts && { hosts }),
    precision: precisionOf(config),
    ...overflowCheck(config),
  });
}

/** The ranks along each axis. */
function meshOfConfig(config: ResolvedConfig): Mesh {
  const { pipeline, tensor } = config.mesh;
  return { pipeline, data: dataRanks(config), tensor };
}

function replicaOptions({ redundancy }: ResolvedConfig, synchronizes: boolean): ReplicaOptions {
  const synchronization = synchronizationOf(redundancy);
  if (synchronization === undefined) return {};
  return { meeting: { synchronizes, outerTensors: outerTensorCount(synchronization.outer) } };
}

/** Of so many tokens. */
function exchangesOf({ forward, backward }: BlockExchanges, tokens: number): BlockExchanges {
  const times = (exchanges: readonly AxisExchange[]): readonly AxisExchange[] =>
    exchanges.map((each) => ({
      ...each,
      elements: each.elements * tokens,
      bytes: each.bytes * tokens,
    }));
  return { forward: times(forward), backward: times(backward) };
}

function zeroOptions(
  { zero_optimization: zero, communication }: ResolvedConfig,
  stage: ZeroOptions['stage'],
  mergedElements: number,
): ZeroOptions {
  return {
    stage,
    // A message is a part of a block: those that would be too short are not cut.
    bucketElements: Math.max(zero.reduce_bucket_size, mergedElements),
    overlap: zero.overlap_comm,
    sameOrder: communication.deterministic,
    persistenceThreshold: zero.stage3_param_persistence_threshold,
    mostPersistentElements: zero.stage3_model_persistence_threshold,
    mostReuseDistance: zero.stage3_max_reuse_distance,
    prefetchElements: zero.stage3_prefetch_bucket_size,
    mostLiveElements: zero.stage3_max_live_parameters,
  };
}

/** A policy for numbers that are not finite takes the place of what the precision does by itself, or, in fp16, follows it. */
function overflowCheck({ non_finite: policy, fp16 }: ResolvedConfig): Pick<ProgramInputs, 'overflowCheck'> {
  if (policy === undefined) return {};
  const stopsAtOnce = policy.action === 'stop' && !fp16.enabled;
  return { overflowCheck: stopsAtOnce ? 'none' : 'loss and gradients' };
}
