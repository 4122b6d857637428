import { invariant, TrainyardError } from '../base/errors.js';
import { singleRank } from '../launch/environment.js';
import type { Model } from '../nn/block.js';
import { precisionOf } from '../precision/config.js';
import { openModelFolder } from '../store/hugging-face/model-folder.js';
import { setRandomState } from '../tensor/random.js';
import { openFittingAdapter } from './adapter-source.js';
import { toDevice } from './batch.js';
import { compileStep } from './compile-step.js';
import { type ResolvedConfig, resolveConfig, type UserConfig } from './config.js';
import { loadAdapter, loadParameters, type ParameterWriter } from './fill-parameters.js';
import { modelOf, openMemory } from './initialize.js';
import { type Bundle, bundleModel, microBatchOf, readBundle } from './non-finite/bundle.js';
import { type NonFiniteFinding, searchRank } from './non-finite/diagnose.js';
import { linkPrograms } from './program-links.js';
import { planRank } from './rank-plan.js';
import type { TrainingMemory } from './training-memory.js';
import { joinWorld } from './world.js';

/** Which step is computed again, and on what. */
export interface ReplayOptions {
  /** A folder such as OUTPUT/non-finite/step-12. */
  readonly bundle: string;
  /** A model of one's own blocks, where the run had one: its weights are those of the bundle. */
  readonly model?: Model;
  /** Left out: as the run had it. */
  readonly device?: ResolvedConfig['device'];
}

/** What came of a step that was computed again, by one process. */
export interface Replay {
  readonly step: number;
  /** Mean over the target tokens of the global batch. */
  readonly loss: number;
  readonly gradientNorm: number;
  /** The first tensor that is not finite; absent where all are. `rank` is that whose sequences were computed then. */
  readonly found?: NonFiniteFinding & { readonly rank: number };
  /** As the run had found it. */
  readonly recorded: Bundle['first'];
}

/**
 * Computes the forwards and backwards of a recorded step again, on one process: the micro-batches of all ranks one after
 * another, each rank's with the random numbers that it had. Nothing is updated and nothing is written.
 *
 * @throws TrainyardError BUNDLE_INVALID; as `initialize` for a model that cannot be opened
 */
export function replayBundle({ bundle: folder, model: own, device }: ReplayOptions): Replay {
  const bundle = readBundle(folder);
  const turns = turnsOf(bundle, folder);
  const [first] = turns;
  const config = resolveConfig(configOf(bundle, folder, { turns, own, device }));
  const source = modelOf(config, own);
  const world = joinWorld(config, singleRank());
  const plan = planRank({ config, source, world, sequenceLength: first.data.length });
  const { model, layout, stages } = plan;
  const { dtype } = precisionOf(config);
  const program = compileStep({ ...plan, goal: 'gradients' }).program(0);
  const memory = openMemory({
    ...plan,
    source,
    sharding: undefined,
    world,
    dtype,
    layout,
    seed: config.seed,
  });
  loadWeights(folder, source, memory);
  const links = linkPrograms({ world, model, stages, dtype });
  const { finding, metrics } = searchRank(model, memory, 0, {
    program,
    step: bundle.step,
    resources: { blocks: model.blocks, ...memory.resources, ...links.resources },
    inputs: {
      nextBatch: (micro) => {
        const turn = turns[micro];
        invariant(turn, `there is no micro-batch ${micro}`);
        if (turn.random !== undefined) setRandomState(turn.random, world.device);
        return toDevice(turn.data, world.device);
      },
      lossScale: bundle.loss_factor,
      training: true,
    },
  });
  links.close();
  memory.dispose();
  model.dispose?.();
  world.group.close();
  const rank = finding === undefined || finding.kind === 'parameter' ? 0 : (turns[finding.micro]?.rank ?? 0);
  return {
    step: bundle.step,
    loss: metrics.loss,
    gradientNorm: metrics.gradientNorm,
    ...(finding && { found: { ...finding, rank } }),
    recorded: bundle.first,
  };
}

/** One micro-batch, whose it was, and, where it was that rank's first, the state of the generator. */
interface Turn {
  readonly rank: number;
  readonly data: ReturnType<typeof microBatchOf>;
  readonly random?: Uint8Array;
}

function turnsOf({ ranks }: Bundle, folder: string): readonly [Turn, ...Turn[]] {
  const [first, ...others] = ranks
    .flatMap(({ data, random, micro_batches }, rank) =>
      data === undefined ? [] : [{ data, rank, random, micro_batches }],
    )
    .sort((left, right) => left.data - right.data)
    .flatMap(({ rank, random, micro_batches }) =>
      micro_batches.map((each, micro) => ({
        rank,
        data: microBatchOf(each),
        ...(micro === 0 && { random: Uint8Array.from(Buffer.from(random, 'base64')) }),
      })),
    );
  const isEven = others.every(
    ({ data }) => data.rows === first?.data.rows && data.length === first.data.length,
  );
  if (first !== undefined && isEven) return [first, ...others];
  throw new TrainyardError('BUNDLE_INVALID', {
    what: 'The bundle has no batch that one process can compute.',
    where: folder,
    expected: 'micro-batches of equal shape',
    got: first === undefined ? 'none' : 'micro-batches of several shapes',
  });
}

interface Replayed {
  readonly turns: readonly [Turn, ...Turn[]];
  readonly own: Model | undefined;
  readonly device: ResolvedConfig['device'] | undefined;
}

/** Of the recorded configuration what a forward and a backward depend on; it is judged as if a person had written it. */
function configOf(
  { config, precision }: Bundle,
  folder: string,
  { turns, own, device }: Replayed,
): UserConfig {
  const written = config as UserConfig;
  const { adapter } = written;
  const computing = own === undefined && {
    model: adapter === undefined ? bundleModel(folder) : written.model,
  };
  return {
    ...computing,
    ...(adapter && { adapter }),
    ...(written.seed !== undefined && { seed: written.seed }),
    device: device ?? written.device ?? 'cpu',
    ...(precision !== 'fp32' && { [precision]: { enabled: true } }),
    train_micro_batch_size_per_gpu: turns[0].data.rows,
    gradient_accumulation_steps: turns.length,
  };
}

function loadWeights(
  folder: string,
  { model, adapter }: ReturnType<typeof modelOf>,
  memory: TrainingMemory,
): void {
  const write: ParameterWriter = (name, values) => memory.fill(memory.slot(name), values);
  const path = bundleModel(folder);
  const isTrained = (name: string): boolean => memory.slot(name).trainable;
  if (adapter === undefined) loadParameters(openModelFolder(path), model, write, isTrained);
  else loadAdapter(openFittingAdapter(path, model), model, write, isTrained);
}
