import { noGrad } from '../tensor/autograd.js';
import { tensor } from '../tensor/create.js';
import type { Device } from '../tensor/dtype.js';
import { arange } from '../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import type { ConstantTable } from './block.js';
import { type RotaryFrequencies, scaleFrequency } from './rotary-frequencies.js';

/** Cosines and sines of every position's angles, fp32, each [length, headSize / 2]. */
export interface RotaryAngles {
  readonly cosines: Tensor;
  readonly sines: Tensor;
}

/**
 * The rotary angles of one model, made once for each device and shared by its layers. There is no longest
 * sequence: a longer one makes a longer table.
 */
export class RotaryTable implements ConstantTable {
  readonly #tables = new Map<Device, RotaryAngles & { readonly length: number }>();

  constructor(readonly frequencies: RotaryFrequencies) {}

  /** The angles of `length` positions from `first` on. The tensors belong to the caller's scope. */
  angles(first: number, length: number, device: Device): RotaryAngles {
    const { cosines, sines } = this.#tableFor(first + length, device);
    return { cosines: cosines.narrow(0, first, length), sines: sines.narrow(0, first, length) };
  }

  /** [cosines and sines, positions, headSize / 2] */
  shape(length: number): readonly number[] {
    return [2, rowsFor(length), this.frequencies.headSize / 2];
  }

  fill(target: Tensor): void {
    noGrad(() =>
      scope(() => {
        const { cosines, sines } = computeAngles(this.frequencies, target.shape[1] ?? 0, 'cpu');
        target.select(0, 0).copy_(cosines);
        target.select(0, 1).copy_(sines);
      }),
    );
  }

  adopt(table: Tensor): void {
    const existing = this.#tables.get(table.device);
    if (existing !== undefined) disposeTable(existing);
    const [cosines, sines] = noGrad(() => [keep(table.select(0, 0)), keep(table.select(0, 1))]);
    this.#tables.set(table.device, { length: table.shape[1] ?? 0, cosines, sines });
    table.dispose();
  }

  /** Frees the tables. */
  dispose(): void {
    for (const table of this.#tables.values()) disposeTable(table);
    this.#tables.clear();
  }

  #tableFor(length: number, device: Device): RotaryAngles {
    const existing = this.#tables.get(device);
    if (existing !== undefined && existing.length >= length) return existing;
    if (existing !== undefined) disposeTable(existing);
    const rows = rowsFor(length);
    const angles = noGrad(() => scope(() => computeAngles(this.frequencies, rows, device)));
    const table = { length: rows, cosines: keep(angles.cosines), sines: keep(angles.sines) };
    this.#tables.set(device, table);
    return table;
  }
}

/** The next power of two: a sequence that grows makes few tables. */
function rowsFor(length: number): number {
  return 2 ** Math.ceil(Math.log2(length));
}

function disposeTable(table: RotaryAngles): void {
  table.cosines.dispose();
  table.sines.dispose();
}

// In fp32 throughout and on the host first, as transformers does: angles of far positions show the rounding.
function computeAngles(frequencies: RotaryFrequencies, length: number, device: Device): RotaryAngles {
  const { headSize, theta, scaling } = frequencies;
  const exponents = arange(0, headSize / 2, { dtype: 'float32' })
    .mul(2)
    .div(headSize);
  const powers = tensor([theta]).pow(exponents).toFloat32Array();
  const perPosition = powers.map((power) => scaleFrequency(Math.fround(1 / power), scaling));
  const positions = arange(0, length, { dtype: 'float32' });
  const angles = positions.outer(tensor(perPosition)).toDevice(device, 'float32');
  return { cosines: angles.cos(), sines: angles.sin() };
}
