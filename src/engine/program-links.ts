import type { ProcessGroup } from '../comm/process-group.js';
import type { Model } from '../nn/block.js';
import type { StepResources } from '../step/handlers/step-state.js';
import type { DType } from '../tensor/dtype.js';
import { tiedRanks } from './compile-program.js';
import { positionsDivisor } from './measure-blocks.js';
import { emptyOutputs } from './output-shapes.js';
import { groupSequenceAxis } from './sequence-axes.js';
import type { StagePlan } from './stage-plan.js';
import type { World } from './world.js';

/** How a rank's programs reach the other ranks. */
export interface ProgramLinks {
  readonly resources: Pick<
    StepResources,
    'group' | 'replicate' | 'tensor' | 'sequenceAxis' | 'stages' | 'tied'
  >;
  /** Leaves the groups that are the programs' alone. */
  close(): void;
}

/** What links are made from. */
export interface LinkedModel {
  readonly world: World;
  /** As this rank computes it. */
  readonly model: Model;
  /** Absent: every rank runs all blocks. */
  readonly stages: StagePlan | undefined;
  /** What blocks compute with. */
  readonly dtype: DType;
}

/** Connects the stages with tied parameters, beside the axes of the mesh. Every rank must call it. */
export function linkPrograms({ world, model, stages, dtype }: LinkedModel): ProgramLinks {
  const { axes } = world;
  const { shard, replicate, tensor, sequence } = axes;
  const resources = {
    group: shard,
    tensor,
    ...(replicate && { replicate }),
    ...(sequence && { sequenceAxis: groupSequenceAxis(sequence) }),
  };
  if (stages === undefined) return { resources, close: () => {} };
  const tied = connectTied(world, stages);
  return {
    resources: {
      ...resources,
      stages: { group: axes.pipeline, emptyOutput: emptyOutputs(model, dtype, positionsDivisor(model)) },
      ...(tied && { tied }),
    },
    close: () => tied?.close(),
  };
}

function connectTied({ group, mesh, axes, among }: World, { tied }: StagePlan): ProcessGroup | undefined {
  return tied.includes(axes.pipeline.rank) ? among('tied', tiedRanks(mesh, group.rank, tied)) : undefined;
}
