import { invariant, TrainyardError } from '../base/errors.js';
import { completeCompression } from '../comm/config.js';
import type { Block, Model } from '../nn/block.js';
import { type FlatLayout, fullName, planFlatLayout } from '../nn/flat-layout.js';
import type { ParameterDeclaration } from '../nn/parameter.js';
import { chunksOfStage, type PartitionMethod, partitionBlocks } from '../pipeline/partition.js';
import type { BlockCosts } from '../step/block-meter.js';
import type { PipelineStage } from '../step/program.js';
import type { ResolvedConfig } from './config.js';
import { dataRanks } from './data-ranks.js';

/** What every stage of a pipeline has of a model. */
export interface StagePlan {
  readonly stages: readonly StagePart[];
  /** The stages that have the same parameter, where blocks of several are tied; none where nothing is. */
  readonly tied: readonly number[];
  /** The stage that a parameter with memory of its own is at home in, by its full name. */
  homeOf(parameter: string): number;
}

/** One stage's part. */
export interface StagePart {
  readonly place: PipelineStage;
  /** Of its own blocks; the others have no parameters here. */
  readonly layout: FlatLayout;
}

/** What a plan is made from. */
export interface StagesToPlan {
  readonly config: Pick<
    ResolvedConfig,
    'mesh' | 'pipeline' | 'communication' | 'data_parallel_size' | 'sequence_parallel_size'
  >;
  /** With this rank's part of every matrix. */
  readonly model: Model;
  /** Alike on all ranks; only the partition "profile" needs them. */
  readonly costs?: readonly BlockCosts[] | undefined;
}

/**
 * Divides a model into the stages of a pipeline; undefined where there is only one.
 *
 * @throws TrainyardError CONFIG_CONFLICT as `partitionBlocks`, and for more than one set of stages with tied parameters
 */
export function planStages({ config, model, costs }: StagesToPlan): StagePlan | undefined {
  const { mesh, pipeline } = config;
  const { pipeline: stages } = mesh;
  if (stages === 1) return undefined;
  const { blocks } = model;
  const runs = partitionBlocks(
    partitionMethod(pipeline.partition),
    blocks.map((block, index) => ({
      name: block.name,
      trainableElements: elementsOf(block),
      milliseconds: costs?.[index]?.forwardMs ?? 0,
    })),
    stages * pipeline.chunks,
    'pipeline.partition',
  );
  const chunks = Array.from({ length: stages }, (_, stage) => chunksOfStage(runs, stages, stage));
  const stageOf = (block: number): number => chunks.findIndex((ofStage) => ofStage.flat().includes(block));
  const ties = tiesOver(blocks, stageOf);
  if (ties.size > 0) demandSameSums(config);
  return {
    stages: chunks.map((ofStage, stage) => ({
      place: { stage, stages, chunks: ofStage },
      layout: planFlatLayout(
        blocks.map((block, index) =>
          stageOf(index) === stage ? ownBlock(block, stage, ties) : { ...named(block), parameters: [] },
        ),
        undefined,
        dataRanks(config),
      ),
    })),
    tied: tiedStages(ties),
    homeOf(parameter) {
      const home = blocks.findIndex((block) => declares(block, parameter));
      invariant(home !== -1, `there is no parameter "${parameter}"`);
      return stageOf(home);
    },
  };
}

/** Of each owner that other stages use too: the full name that it has on each stage that does. */
type Ties = ReadonlyMap<string, ReadonlyMap<number, string>>;

function tiesOver(blocks: readonly Block[], stageOf: (block: number) => number): Ties {
  const users = new Map<string, Map<number, string>>();
  for (const [index, block] of blocks.entries()) {
    for (const { name, tiedTo } of block.parameters) {
      const own = fullName(block, name);
      const onStages = users.get(tiedTo ?? own) ?? new Map<number, string>();
      if (!onStages.has(stageOf(index))) onStages.set(stageOf(index), own);
      users.set(tiedTo ?? own, onStages);
    }
  }
  return new Map([...users].filter(([, onStages]) => onStages.size > 1));
}

/** A tie to an owner on another stage is a copy here, which the first to need it owns. */
function ownBlock(
  block: Block,
  stage: number,
  ties: Ties,
): Pick<Block, 'name' | 'parameterPrefix' | 'parameters'> {
  const parameters = block.parameters.map((declaration): ParameterDeclaration => {
    const { tiedTo, ...rest } = declaration;
    const own = fullName(block, declaration.name);
    const owner = tiedTo ?? own;
    const onStages = ties.get(owner);
    if (onStages === undefined) return declaration;
    const localOwner = onStages.get(stage);
    if (localOwner !== own) return { ...rest, tiedTo: localOwner ?? owner };
    return { ...rest, shared: { name: owner, isCopy: tiedTo !== undefined } };
  });
  return { ...named(block), parameters };
}

/** Every stage sums the gradient of a tied parameter by itself, in other messages: to the last bit it must be the same. */
function demandSameSums({ communication }: StagesToPlan['config']): void {
  const { type } = completeCompression(communication.compression);
  if (type !== 'fp16-dynamic' && type !== 'int8' && type !== 'int4') return;
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: 'Tied parameters would drift apart: this compression depends on what else is in a message, and stages send others.',
    where: 'communication.compression',
    expected: 'none, bf16, fp16 or fp16-static, where parameters are tied over stages',
    got: type,
    cure: 'Use bf16, or a model whose embedding and head are not tied.',
  });
}

function tiedStages(ties: Ties): readonly number[] {
  const sets = new Set(
    [...ties.values()].map((onStages) => [...onStages.keys()].sort((a, b) => a - b).join()),
  );
  const [set, other] = sets;
  if (other !== undefined) {
    throw new TrainyardError('CONFIG_CONFLICT', {
      what: 'Parameters are tied over several sets of pipeline stages.',
      where: 'pipeline.partition',
      expected: 'ties between the same stages, as those of an embedding and a head',
      got: [...sets].map((stages) => `stages ${stages}`).join('; '),
      cure: 'Take fewer stages, or place the tied blocks together with pipeline.partition.',
    });
  }
  return set === undefined ? [] : set.split(',').map(Number);
}

function named({ name, parameterPrefix }: Block): Pick<Block, 'name' | 'parameterPrefix'> {
  return { name, ...(parameterPrefix !== undefined && { parameterPrefix }) };
}

function declares(block: Block, parameter: string): boolean {
  return block.parameters.some(
    ({ name, tiedTo }) => tiedTo === undefined && fullName(block, name) === parameter,
  );
}

function elementsOf({ parameters }: Block): number {
  return parameters
    .filter(({ tiedTo, frozen = false }) => tiedTo === undefined && !frozen)
    .reduce((sum, { shape }) => sum + shape.reduce((product, size) => product * size, 1), 0);
}

function partitionMethod(written: ResolvedConfig['pipeline']['partition']): PartitionMethod {
  if (typeof written !== 'string') return { kind: 'counts', counts: written };
  switch (written) {
    case 'uniform':
    case 'parameters':
    case 'profile':
      return { kind: written };
    default:
      return { kind: 'type', pattern: written.slice('type:'.length) };
  }
}
