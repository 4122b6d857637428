import { elementsWithin } from '../comm/elements-within.js';
import { longest } from '../comm/measure-together.js';
import { planFlatLayout } from '../nn/flat-layout.js';
import { precisionOf } from '../precision/config.js';
import { exchangesOf } from './block-exchanges.js';
import { defaultSequenceLength, type StepToCompile } from './compile-step.js';
import type { ResolvedConfig } from './config.js';
import { dataRanks } from './data-ranks.js';
import { localModel } from './local-model.js';
import type { ModelSource } from './model-source.js';
import { stageCosts } from './stage-costs.js';
import { planStages } from './stage-plan.js';
import { tensorAxis, type World } from './world.js';

/** Whose part of a model is planned. */
export interface RankToPlan {
  readonly config: ResolvedConfig;
  readonly source: ModelSource;
  readonly world: World;
  /** Left out: what the configuration says, or the usual. */
  readonly sequenceLength?: number | undefined;
}

/** What a rank has of a run's model and how its memory lies, and all else from which steps are compiled but their goal. */
export type RankPlan = Omit<StepToCompile, 'goal'>;

/**
 * Divides a model over the mesh, seen from this rank: matrices over the tensor axis, blocks over the stages. Every rank
 * must call it, for stages may go by times that are measured.
 */
export function planRank({ config, source, world, sequenceLength: known }: RankToPlan): RankPlan {
  const { group, axes, hosts } = world;
  const model = localModel(source, config, tensorAxis(config, world));
  const sequenceLength = known ?? config.data?.sequence_length ?? defaultSequenceLength(model);
  const costs = stageCosts(group, { config, model, sequenceLength });
  const stages = planStages({ config, model, costs });
  const ownLayout = stages?.stages[axes.pipeline.rank]?.layout;
  const layout = ownLayout ?? planFlatLayout(model.blocks, undefined, dataRanks(config));
  return {
    config,
    model,
    layout,
    stages,
    exchanges: exchangesOf(source, config, precisionOf(config).dtype),
    readsInPlace: axes.shard.readsInPlace,
    stagesOf: axes.data.stagesOf,
    ...(hosts && { hosts }),
    sequenceLength,
    mergedElements: mergedElements(config, world, layout.trainableElements),
  };
}

/** So that bits depend on as little as can be where it says nothing: then nothing is measured. */
function mergedElements(
  { communication: { merge_below_ms: milliseconds } }: ResolvedConfig,
  { group, axes }: World,
  most: number,
): number {
  if (milliseconds === 0) return 0;
  const [elements = 0] = longest(group, [elementsWithin(axes.data, milliseconds / 1000, most)]);
  return elements;
}
