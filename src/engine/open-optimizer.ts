import { invariant } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import { type DelayedSlices, LeavingOptimizer } from '../offload/leaving-optimizer.js';
import { TiledOptimizer, type TiledOptimizerOptions, type TiledPiece } from '../offload/tiled-optimizer.js';
import { TwinStore } from '../offload/twin-store.js';
import { createUpdateRule } from '../optim/optimizer.js';
import { OptimizerGroup, type TrainingOptimizer } from '../optim/optimizer-group.js';
import type { Program } from '../step/program.js';
import { noGrad } from '../tensor/autograd.js';
import type { Device } from '../tensor/dtype.js';
import type { FlatSlice } from '../tensor/flat-store.js';
import { zeros } from '../tensor/generated/functions.js';
import { keep, Tensor } from '../tensor/tensor.js';
import { sliceOf } from '../zero/partition.js';
import type { ResolvedConfig } from './config.js';
import type { TrainingMemory } from './training-memory.js';

/**
 * The optimizer over what a rank owns. Where ranks exchange a momentum, every rank has all of it, whatever it owns: its
 * own gradients are of everything.
 */
export function openOptimizer(
  config: ResolvedConfig['optimizer'],
  memory: TrainingMemory,
  group: Pick<ProcessGroup, 'rank' | 'allocate'>,
  tiles?: TiledOptimizerOptions,
): TrainingOptimizer {
  if (tiles !== undefined) return openTiledOptimizer(config, memory, tiles);
  if (config.type !== 'OneBitAdam') return new OptimizerGroup(config, memory.pieces);
  const { partition, pieces, parameters } = memory;
  const { device } = parameters.values;
  const place = partition.ranks === 1 ? 0 : group.rank;
  return noGrad(() => {
    const elements = parameters.layout.trainableElements;
    const momentum = keep(
      device === 'cpu' ? group.allocate(elements, 'float32') : zeros([elements], { device }),
    );
    const placed = pieces.map((piece, range) => {
      const { start, end } = sliceOf(partition, range, place);
      return { ...piece, momentum: momentum.narrow(0, start, end - start) };
    });
    return new OptimizerGroup(config, placed, momentum);
  });
}

/** Where updates are delayed, what blocks compute with and what updates make of it are apart. */
function openTiledOptimizer(
  config: ResolvedConfig['optimizer'],
  memory: TrainingMemory,
  tiles: TiledOptimizerOptions,
): TrainingOptimizer {
  const pieces = tiledPieces(config, memory);
  const twins = memory.stores?.twins;
  if (twins === undefined) return new LeavingOptimizer(new TiledOptimizer(config, pieces, tiles));
  const resident: DelayedSlices['resident'][number][] = [];
  const otherOf = (slice: FlatSlice): FlatSlice => {
    if (slice instanceof TwinStore) return slice.other;
    invariant(slice instanceof Tensor, 'what is in a tier has two stores where updates are delayed');
    const { dtype, device } = slice;
    const newWeights = keep(noGrad(() => zeros([slice.elements], { dtype, device })));
    resident.push({ weights: slice, newWeights });
    return newWeights;
  };
  const delayed = pieces.map(({ gradients, copy, ...piece }): TiledPiece => {
    invariant(gradients instanceof TwinStore, 'gradients of one step are apart from those of the next');
    const made = copy === undefined ? { newWeights: otherOf(piece.weights) } : { copy: otherOf(copy) };
    return { ...piece, gradients: gradients.other, ...made };
  });
  const tiled = new TiledOptimizer(config, delayed, tiles);
  return new LeavingOptimizer(tiled, { ...twins, stored: twins.parameters, resident });
}

/** What a rank owns, wherever it lies; states that are in no other tier get memory of zeros. */
function tiledPieces(config: ResolvedConfig['optimizer'], memory: TrainingMemory): readonly TiledPiece[] {
  const { weights, owned, stores } = memory;
  const names = createUpdateRule(config).stateNames;
  const device = memory.parameters.values.device;
  return weights.map((slice, index): TiledPiece => {
    const inMemory = (): Tensor => keep(noGrad(() => zeros([slice.elements], { device })));
    const gradients = stores?.gradients[index] ?? owned.gradients[index];
    invariant(gradients, `slice ${index} has no gradients`);
    const copy = stores?.masters?.[index] && (stores.parameters[index] ?? owned.values[index]);
    return {
      weights: slice,
      gradients,
      states: names.map((name) => stores?.states?.get(name)?.[index] ?? inMemory()),
      ...(copy && { copy }),
    };
  });
}

/** How the update of a program goes through what is offloaded; undefined where nothing is. */
export function tilesOf(
  { offload }: Program,
  config: Pick<ResolvedConfig, 'zero_optimization'>,
  device: Device,
): TiledOptimizerOptions | undefined {
  if (offload === undefined) return undefined;
  const { pipeline_read, pipeline_write, pin_memory } = config.zero_optimization.offload_optimizer;
  const updatedOn = offload.optimizer === undefined ? device : 'cpu';
  return {
    slots: offload.tiles.count,
    elements: offload.tiles.elements,
    readsAhead: pipeline_read,
    writesBehind: pipeline_write,
    device: updatedOn,
    isPinned: pin_memory && device !== 'cpu',
  };
}
