import type { ConstantTable, Model } from '../nn/block.js';
import { type FlatLayout, type FlatSlot, fullName } from '../nn/flat-layout.js';
import type { FrozenMemory } from '../nn/flat-parameters.js';
import { isAligned, MappedTensors } from '../store/hugging-face/mapped-tensors.js';
import { DTYPES, type DType } from '../tensor/dtype.js';
import { keep, type Tensor } from '../tensor/tensor.js';
import { fillParameters, type ParameterWriter, storedParameters } from './fill-parameters.js';
import type { HostConstants } from './host-constants.js';
import type { ModelSource } from './model-source.js';

/** What frozen parameters are made from. */
export interface FrozenSources {
  readonly source: ModelSource;
  readonly layout: FlatLayout;
  readonly seed: number;
  /** What blocks compute with. */
  readonly dtype: DType;
}

/**
 * The frozen parameters of a model with their values, in memory once for all ranks of a host. What lies in the
 * model's files as it is needed is used right there; the rest (other element types, random values, matrices that are
 * used as one) one rank of the host writes. Undefined where nothing is frozen. Every rank must call it.
 *
 * @throws TrainyardError as filling any parameters
 */
export function openFrozenMemory(
  host: HostConstants,
  { source, layout, seed, dtype }: FrozenSources,
): FrozenMemory | undefined {
  const slots = frozenOwners(layout);
  if (slots.length === 0) return undefined;
  const apart = mapStored(source, slots, dtype);
  const written = new Map(slots.filter(({ name }) => !apart.has(name)).map((slot) => [slot.name, slot]));
  const size = {
    bytes: layout.frozenElements * DTYPES[dtype].bytes,
    tensorBytes: bytesOf([...written.values()], dtype),
  };
  const whole = [layout.frozenElements];
  const memory = host.share(size, (memory) => {
    const buffer = memory.tensor(0, whole, dtype);
    const write: ParameterWriter = (name, values) => {
      const { offset = 0, elements = 0 } = written.get(name) ?? {};
      values(buffer.narrow(0, offset, elements), 0);
    };
    fillParameters({ source, seed, write, wanted: (name) => written.has(name) });
  });
  const buffer = keep(memory.tensor(0, whole, dtype));
  memory.close();
  return { buffer, apart };
}

/** Has the ranks of a host share the tables of a model. Every rank must call it. */
export function shareTables(host: HostConstants, model: Model, sequenceLength: number): void {
  for (const table of model.tables ?? []) {
    const shape = table.shape(sequenceLength);
    const bytes = tableBytes(table, sequenceLength);
    const memory = host.share({ bytes, tensorBytes: bytes }, (memory) =>
      table.fill(memory.tensor(0, shape, 'float32')),
    );
    table.adopt(memory.tensor(0, shape, 'float32'));
    memory.close();
  }
}

/**
 * Bytes of all that is there once per host.
 *
 * @param dtype of the frozen parameters
 */
export function constantBytes(
  model: Model,
  layout: FlatLayout,
  sequenceLength: number,
  dtype: DType,
): number {
  const tables = (model.tables ?? []).map((table) => tableBytes(table, sequenceLength));
  return tables.reduce((sum, bytes) => sum + bytes, bytesOf(frozenOwners(layout), dtype));
}

/** Tensors over the model's files, of parameters that are stored as they are used. */
function mapStored(
  { folder, model, adapter }: ModelSource,
  slots: readonly FlatSlot[],
  dtype: DType,
): ReadonlyMap<string, Tensor> {
  if (folder === undefined) return new Map();
  const joined = new Set(
    model.blocks.flatMap((block) => (block.joins ?? []).flat().map((name) => fullName(block, name))),
  );
  const stored = storedParameters(folder, adapter?.base ?? model);
  const fitting = slots.flatMap(({ name }) => {
    const storedName = stored.get(name);
    if (storedName === undefined || joined.has(name)) return [];
    const place = folder.placeOf(storedName);
    return place.dtype === dtype && isAligned(place) ? [{ name, storedName }] : [];
  });
  const tensors = new MappedTensors(
    folder,
    fitting.map(({ storedName }) => storedName),
  );
  const apart = new Map(fitting.map(({ name, storedName }) => [name, keep(tensors.tensor(storedName))]));
  tensors.close();
  return apart;
}

function frozenOwners(layout: FlatLayout): readonly FlatSlot[] {
  return layout.blocks.flat().filter(({ name, owner, trainable }) => !trainable && name === owner);
}

function bytesOf(slots: readonly FlatSlot[], dtype: DType): number {
  return slots.reduce((sum, { elements }) => sum + elements * DTYPES[dtype].bytes, 0);
}

function tableBytes(table: ConstantTable, sequenceLength: number): number {
  return table.shape(sequenceLength).reduce((product, size) => product * size, DTYPES.float32.bytes);
}
