import { TrainyardError } from '../base/errors.js';
import type { ParameterDeclaration } from './parameter.js';
import type { Division, Placement, Run, TensorAxis } from './tensor-axis.js';

/** Of a block's parameters, by their names in it: how each lies on the ranks of a tensor axis. */
export type PlacementTable = Readonly<Record<string, Placement>>;

/**
 * What a rank declares where a block's parameters are divided: its part of each, under the same names.
 *
 * @param declarations of whole parameters
 * @param table has every one of them
 * @throws TrainyardError CONFIG_CONFLICT for heads that do not divide
 */
export function divideDeclarations(
  declarations: readonly ParameterDeclaration[],
  table: PlacementTable,
  axis: TensorAxis | undefined,
): readonly ParameterDeclaration[] {
  if (axis === undefined) return declarations;
  return declarations.map((declaration) => {
    const placement = table[declaration.name];
    if (placement === undefined) throw unplaced(declaration);
    const division = divide(declaration, placement, axis);
    return { ...declaration, shape: partShape(division), division };
  });
}

/** What this rank has of a divided dimension. */
export function ownRuns({ runs, axis }: Division): readonly Run[] {
  return runs[axis.rank] ?? [];
}

/** The shape of a rank's part, zeros included. */
function partShape(division: Division): readonly number[] {
  const { shape, dimension, runs } = division;
  if (dimension === undefined) return shape;
  const size = Math.max(...runs.map((ofRank) => ofRank.reduce((sum, { length }) => sum + length, 0)));
  return shape.map((each, index) => (index === dimension ? size : each));
}

function divide(declaration: ParameterDeclaration, placement: Placement, axis: TensorAxis): Division {
  const { shape, linear } = declaration;
  const common = { axis, by: placement.by, shape, isCopy: false, isPartial: false };
  const [outputs, inputs] = linear === 'inputs × outputs' ? [1, 0] : [0, 1];
  switch (placement.by) {
    case 'replicated': {
      const isPartial = placement.inside === true || axis.sequence;
      return { ...common, runs: [], isPartial, isCopy: axis.rank > 0 };
    }
    case 'vocabulary':
      return { ...common, dimension: 0, runs: evenRuns(shape[0] ?? 0, axis) };
    case 'row':
      demandDivisible(declaration, placement.heads, axis);
      return { ...common, dimension: inputs, runs: evenRuns(shape[inputs] ?? 0, axis) };
    case 'column': {
      const dimension = shape.length > 1 ? outputs : 0;
      const size = shape[dimension] ?? 0;
      const { sections = 1, heads } = placement;
      if (heads !== undefined && heads < axis.size && sections === 1) {
        return { ...common, dimension, ...sharedHeads(declaration, size, heads, axis) };
      }
      demandDivisible(declaration, heads, axis);
      return { ...common, dimension, runs: evenRuns(size, axis, sections) };
    }
    default:
      return placement satisfies never;
  }
}

/** Of fewer heads than ranks, each rank has one, and as many ranks as any other head has that one. */
function sharedHeads(
  declaration: ParameterDeclaration,
  size: number,
  heads: number,
  { rank, size: ranks }: TensorAxis,
): Pick<Division, 'runs' | 'isPartial' | 'isCopy'> {
  if (ranks % heads !== 0) throw indivisible(declaration, heads, ranks);
  const length = size / heads;
  const sharing = ranks / heads;
  const runs = Array.from({ length: ranks }, (_, each) => [
    { start: Math.floor(each / sharing) * length, length },
  ]);
  return { runs, isPartial: true, isCopy: rank % sharing > 0 };
}

/** The same share for every rank, of which the last ones may use less, of each section. */
function evenRuns(size: number, { size: ranks }: TensorAxis, sections = 1): readonly (readonly Run[])[] {
  const section = size / sections;
  const share = Math.ceil(section / ranks);
  return Array.from({ length: ranks }, (_, rank) =>
    Array.from({ length: sections }, (_section, index) => {
      const start = Math.min(section, rank * share);
      return { start: index * section + start, length: Math.min(share, section - start) };
    }),
  );
}

function demandDivisible(
  declaration: ParameterDeclaration,
  heads: number | undefined,
  { size }: TensorAxis,
): void {
  if (heads !== undefined && heads % size !== 0) throw indivisible(declaration, heads, size);
}

function indivisible({ name }: ParameterDeclaration, heads: number, ranks: number): TrainyardError {
  return new TrainyardError('CONFIG_CONFLICT', {
    what: `The heads of ${name} cannot be divided over the tensor axis.`,
    where: 'mesh.tensor',
    expected: `a divisor of ${heads} heads, or for keys and values a multiple of them`,
    got: `${ranks} ranks`,
  });
}

function unplaced({ name }: ParameterDeclaration): TrainyardError {
  return new TrainyardError('MODEL_INVALID', {
    what: 'A parameter has no place on the tensor axis.',
    where: name,
    expected: 'column, row, vocabulary or replicated in the table of its model',
  });
}
