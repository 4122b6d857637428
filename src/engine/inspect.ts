import { rankAt } from '../comm/mesh.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { BatchSource } from '../data/batch-source.js';
import { type RankEnvironment, singleRank } from '../launch/environment.js';
import type { Model } from '../nn/block.js';
import type { FlatSlot } from '../nn/flat-layout.js';
import { precisionOf } from '../precision/config.js';
import { initialLossScale } from '../precision/loss-scaler.js';
import type { StepMetrics } from '../step/handlers/step-state.js';
import type { Program } from '../step/program.js';
import { runStep } from '../step/run-step.js';
import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { normSquared } from '../tensor/generated/functions.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { type Partition, type Piece, piecesOf } from '../zero/partition.js';
import { toDevice } from './batch.js';
import { compileStep } from './compile-step.js';
import { loadConfig, type ResolvedConfig } from './config.js';
import { TrainingErrors } from './error-memory.js';
import { gatherText } from './gather-bytes.js';
import { openMemory } from './initialize.js';
import { lossScalingOf } from './loss-scaling.js';
import { closeMesh, type MeshGroups } from './mesh-groups.js';
import { openModel } from './model-source.js';
import { ownPositions } from './own-positions.js';
import { linkPrograms, type ProgramLinks } from './program-links.js';
import { planRank } from './rank-plan.js';
import { dataPlace, openTrainingData } from './training-data.js';
import type { TrainingMemory } from './training-memory.js';
import { joinWorld, type World } from './world.js';

/** What one forward and backward pass over the first global batch finds, before any update. */
export interface Inspection {
  /** Mean over the target tokens. */
  readonly loss: number;
  /** Frobenius norm of all logits of the batch. */
  readonly logits_norm: number;
  /** Logits of the last position of the first sequence. */
  readonly logits_0_last: readonly number[];
  /** Norm of each parameter's gradient by its Hugging Face name; tied parameters under their owner's. */
  readonly grad_norms: Readonly<Record<string, number>>;
}

export interface InspectOptions {
  readonly configPath: string;
  readonly overrides: readonly string[];
  /** This process among the ranks; left out: the only one. */
  readonly environment?: RankEnvironment;
}

/**
 * Inspects a configuration: every rank must call it, and rank 0's result is whole.
 *
 * @throws TrainyardError as training would.
 */
export async function inspectModel({
  configPath,
  overrides,
  environment = singleRank(),
}: InspectOptions): Promise<Inspection> {
  const { config } = loadConfig(configPath, overrides, {
    worldSize: environment.worldSize,
    requires: ['model', 'data'],
  });
  const source = openModel(config);
  const { batches } = await openTrainingData(config, source, dataPlace(config, environment));
  const { sequenceLength } = batches;
  const world = joinWorld(config, environment);
  const plan = planRank({ config, source, world, sequenceLength });
  const { model, stages } = plan;
  const program = compileStep({ ...plan, goal: 'gradients' }).program(world.group.rank);
  const { sharding } = program;
  const { dtype } = precisionOf(config);
  const memory = openMemory({ ...plan, source, sharding, world, dtype, seed: config.seed });
  const links = linkPrograms({ world, model, stages, dtype });
  const found = runOnce({ config, model, program, links, memory, batches, world });
  links.close();
  memory.dispose();
  model.dispose?.();
  closeMesh(world.group, world.axes);
  return found;
}

interface Subject {
  readonly config: ResolvedConfig;
  readonly model: Model;
  readonly program: Program;
  readonly links: ProgramLinks;
  readonly memory: TrainingMemory;
  readonly batches: BatchSource;
  readonly world: World;
}

function runOnce({ config, model, program, links, memory, batches, world }: Subject): Inspection {
  const { axes, device } = world;
  const { factor, scaling } = lossScalingOf(config, batches.sequenceLength);
  const logits = new LogitsProbe();
  const errors = program.errorFeedback && new TrainingErrors(program.errorFeedback, device);
  const metrics = runStep(
    program,
    {
      blocks: model.blocks,
      ...memory.resources,
      ...links.resources,
      ...(errors && { errors }),
    },
    {
      nextBatch: (micro) =>
        toDevice(ownPositions(batches.microBatch(0, micro), links.resources.sequenceAxis), device),
      lossScale: factor * initialLossScale(scaling).scale,
      // Dropout would make the answer depend on chance.
      training: false,
      wantLogits: true,
      onOutput: (_block, micro, { logits: output }) => output !== undefined && logits.see(output, micro),
    },
    { step: 1 },
  );
  errors?.dispose();
  return {
    loss: metrics.loss,
    logits_norm: Math.sqrt(sumsOverRanks(axes.pipeline, sumsOverRanks(axes.data, [logits.squares]))[0] ?? 0),
    logits_0_last: firstLogits(world, logits.first),
    grad_norms: gradientNorms(memory, axes, metrics),
  };
}

/** Reads logits while they exist: backward overwrites them. */
class LogitsProbe {
  squares = 0;
  first: readonly number[] = [];

  see(logits: Tensor, micro: number): void {
    noGrad(() => {
      this.squares += normSquared(logits.flatten()).item();
      if (micro === 0) this.first = logits.select(0, 0).select(0, -1).toArray();
    });
  }
}

/** Those of the first rank that computes logits of last positions, which the last stage does. */
function firstLogits({ group, mesh, axes }: World, own: readonly number[]): readonly number[] {
  const data = (axes.sequence?.worldSize ?? 1) - 1;
  const rank = rankAt(mesh, { pipeline: mesh.pipeline - 1, data, tensor: 0 });
  if (rank === 0) return own;
  return JSON.parse(gatherText(group, JSON.stringify(own))[rank] ?? '[]') as number[];
}

function sumsOverRanks(group: ProcessGroup, values: readonly number[]): readonly number[] {
  return scope(() => {
    const sums = tensor(Float64Array.from(values));
    group.allReduce(sums, 'sum').wait();
    return sums.toArray();
  });
}

/** In memory are the gradients of the scaled sum; the unclipped mean's are a factor away. */
function gradientNorms(
  memory: TrainingMemory,
  axes: MeshGroups,
  metrics: StepMetrics,
): Readonly<Record<string, number>> {
  const { partition, owned } = memory;
  const trained = memory.slots.filter(({ trainable }) => trainable);
  const ownSlots = new Map(memory.ownSlots.map((slot) => [slot.name, slot]));
  const own = partition.ranks === 1 ? 0 : axes.shard.rank;
  const squares = trained.map((slot) =>
    countedPieces(partition, ownSlots.get(slot.name))
      .filter(({ rank }) => rank === own)
      .reduce((sum, { range, sliceOffset, elements }) => {
        const slice = owned.gradients[range];
        if (slice === undefined) return sum;
        return sum + scope(() => normSquared(slice.narrow(0, sliceOffset, elements)).item());
      }, 0),
  );
  const ofData = partition.ranks === 1 ? squares : sumsOverRanks(axes.shard, squares);
  const totals = sumsOverRanks(axes.pipeline, sumsOverRanks(axes.tensor, ofData));
  return Object.fromEntries(
    trained.map(({ name }, index) => [name, Math.sqrt(totals[index] ?? 0) * metrics.meanScale]),
  );
}

/** What this rank has of a parameter's gradient, where no other rank of its axis or stage has the same. */
function countedPieces(partition: Partition, slot: FlatSlot | undefined): readonly Piece[] {
  return slot === undefined || slot.division?.isCopy === true ? [] : piecesOf(partition, slot);
}
