import type { ProcessGroup } from '../comm/process-group.js';
import type { BatchSource } from '../data/batch-source.js';
import { type RankEnvironment, singleRank } from '../launch/environment.js';
import type { Model } from '../nn/block.js';
import { planFlatLayout } from '../nn/flat-layout.js';
import { FlatParameters } from '../nn/flat-parameters.js';
import type { StepMetrics } from '../step/handlers/step-state.js';
import { runStep } from '../step/run-step.js';
import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import { normSquared } from '../tensor/generated/functions.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { toDevice } from './batch.js';
import { compileStep } from './compile-step.js';
import { loadConfig, type ResolvedConfig } from './config.js';
import { fillParameters, joinWorld, type World } from './initialize.js';
import { openModel } from './model-source.js';
import { openTrainingData } from './training-data.js';

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
  const source = openModel(config.model);
  const { batches } = await openTrainingData(config, source, environment);
  const world = joinWorld(config, environment);
  const layout = planFlatLayout(source.model.blocks);
  const parameters = new FlatParameters(layout, { dtype: 'float32', device: world.device, gradients: true });
  fillParameters(source, parameters, config.seed);
  const found = runOnce({ config, model: source.model, parameters, batches, world });
  parameters.dispose();
  world.group.close();
  return found;
}

interface Subject {
  readonly config: ResolvedConfig;
  readonly model: Model;
  readonly parameters: FlatParameters;
  readonly batches: BatchSource;
  readonly world: World;
}

function runOnce({ config, model, parameters, batches, world }: Subject): Inspection {
  const { group, device } = world;
  const program = compileStep({
    config,
    model,
    layout: parameters.layout,
    goal: 'gradients',
    sequenceLength: batches.sequenceLength,
  }).program(group.rank);
  const logits = new LogitsProbe();
  const metrics = runStep(
    program,
    { blocks: model.blocks, parameters, group },
    {
      nextBatch: (micro) => toDevice(batches.microBatch(0, micro), device),
      lossScale: 1 / config.train_batch_size,
      // Dropout would make the answer depend on chance.
      training: false,
      wantLogits: true,
      onOutput: (_block, micro, { logits: output }) => output !== undefined && logits.see(output, micro),
    },
    { step: 1 },
  );
  return {
    loss: metrics.loss,
    logits_norm: Math.sqrt(sumOverRanks(group, logits.squares)),
    logits_0_last: logits.first,
    grad_norms: gradientNorms(parameters, metrics),
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

function sumOverRanks(group: ProcessGroup, value: number): number {
  return scope(() => {
    const sum = tensor(Float64Array.of(value));
    group.allReduce(sum, 'sum').wait();
    return sum.item();
  });
}

/** In memory are the gradients of the scaled sum; the unclipped mean's are a factor away. */
function gradientNorms(parameters: FlatParameters, metrics: StepMetrics): Readonly<Record<string, number>> {
  const trained = parameters.parameters.flatMap(({ name, gradient }) =>
    gradient === undefined ? [] : [{ name, gradient }],
  );
  return Object.fromEntries(
    trained.map(({ name, gradient }) => {
      const norm = scope(() => Math.sqrt(normSquared(gradient.flatten()).item()));
      return [name, norm * metrics.meanScale];
    }),
  );
}
