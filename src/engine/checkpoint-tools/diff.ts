import { elementsIn } from '../../store/checkpoint/pieces.js';
import type { LoadedCheckpoint, SavedTensor } from '../../store/checkpoint.js';
import { openCheckpointAt } from './open.js';

/** How a tensor of two checkpoints differs. */
export type TensorDifference =
  | { readonly name: string; readonly kind: 'only in the first' | 'only in the second' }
  | {
      readonly name: string;
      readonly kind: 'shape' | 'dtype';
      readonly first: string;
      readonly second: string;
    }
  | {
      readonly name: string;
      readonly kind: 'values';
      readonly different: number;
      readonly elements: number;
      /** Of fp32 tensors. */
      readonly largest?: number;
    };

export interface CheckpointDifference {
  /** The checkpoints that were compared, and their steps. */
  readonly first: { readonly tag: string; readonly step: number };
  readonly second: { readonly tag: string; readonly step: number };
  readonly tensors: readonly TensorDifference[];
}

/**
 * Compares the logical tensors of two checkpoints, to the last bit, whatever layouts they were saved in.
 *
 * @throws TrainyardError CHECKPOINT_INVALID
 */
export function diffCheckpoints(firstPath: string, secondPath: string): CheckpointDifference {
  const [first, second] = [openCheckpointAt(firstPath), openCheckpointAt(secondPath)];
  const names = [...new Set([...first.names, ...second.names])].sort();
  const named = ({ tag, state: { step } }: LoadedCheckpoint) => ({ tag, step });
  return {
    first: named(first),
    second: named(second),
    tensors: names.flatMap((name) => differenceOf(name, first, second) ?? []),
  };
}

function differenceOf(
  name: string,
  first: LoadedCheckpoint,
  second: LoadedCheckpoint,
): TensorDifference | undefined {
  if (!second.names.includes(name)) return { name, kind: 'only in the first' };
  if (!first.names.includes(name)) return { name, kind: 'only in the second' };
  const [one, other] = [first.read(name), second.read(name)];
  if (one.dtype !== other.dtype) return { name, kind: 'dtype', first: one.dtype, second: other.dtype };
  if (one.shape.join() !== other.shape.join()) {
    return { name, kind: 'shape', first: `[${one.shape.join(', ')}]`, second: `[${other.shape.join(', ')}]` };
  }
  const { different, largest } = compareValues(one, other);
  if (different === 0) return undefined;
  const isNumber = one.dtype === 'float32';
  return { name, kind: 'values', different, elements: elementsIn(one.shape), ...(isNumber && { largest }) };
}

/** Elements that are compared at once. */
const COMPARED_TOGETHER = 1 << 20;

function compareValues(
  one: SavedTensor,
  other: SavedTensor,
): { readonly different: number; readonly largest: number } {
  const elements = elementsIn(one.shape);
  let [different, largest] = [0, 0];
  for (let from = 0; from < elements; from += COMPARED_TOGETHER) {
    const count = Math.min(COMPARED_TOGETHER, elements - from);
    const [left, right] = [one.bytes(from, count), other.bytes(from, count)];
    if (Buffer.compare(left, right) === 0) continue;
    const size = left.length / count;
    const views = [left, right].map((bytes) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length));
    for (let index = 0; index < count; index += 1) {
      const at = index * size;
      if (Buffer.compare(left.subarray(at, at + size), right.subarray(at, at + size)) === 0) continue;
      different += 1;
      if (one.dtype !== 'float32') continue;
      const [a = Number.NaN, b = Number.NaN] = views.map((view) => view.getFloat32(at, true));
      largest = Math.max(largest, Math.abs(a - b));
    }
  }
  return { different, largest };
}
