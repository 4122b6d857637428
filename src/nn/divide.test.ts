import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { divideDeclarations } from './divide.js';
import type { ParameterDeclaration } from './parameter.js';
import type { Division, Placement, TensorAxis } from './tensor-axis.js';

const ranks = fc.integer({ min: 1, max: 6 });
const size = fc.integer({ min: 1, max: 40 });

test('the ranks have every element of a divided parameter once, and equally many places', () => {
  const placements: fc.Arbitrary<Placement> = fc.constantFrom(
    { by: 'column' },
    { by: 'row' },
    { by: 'vocabulary' },
  );
  fc.assert(
    fc.property(placements, ranks, size, size, (placement, worldSize, outputs, inputs) => {
      const whole = matrix([outputs, inputs]);
      const parts = divided(whole, placement, worldSize);
      const dimension = placement.by === 'row' ? 1 : 0;
      assert.deepEqual(
        covered(parts),
        Array.from({ length: dimension === 0 ? outputs : inputs }, () => 1),
      );
      for (const { shape } of parts) assert.deepEqual(shape, parts[0]?.shape);
      assert.equal(parts[0]?.shape[1 - dimension], whole.shape[1 - dimension]);
    }),
  );
});

test('matrices side by side are divided each', () => {
  const placement = { by: 'column', sections: 3, heads: 4 } as const;
  const whole: ParameterDeclaration = { ...matrix([8, 24]), linear: 'inputs × outputs' };
  const parts = divided(whole, placement, 2);
  assert.deepEqual(divisionOf(parts[1]).runs[1], [
    { start: 4, length: 4 },
    { start: 12, length: 4 },
    { start: 20, length: 4 },
  ]);
  assert.deepEqual(parts[1]?.shape, [8, 12]);
});

test('several ranks have the same head where there are fewer heads than ranks, and one of them counts', () => {
  const parts = divided(matrix([6, 5]), { by: 'column', heads: 2 }, 4);
  assert.deepEqual(
    parts.map((part) => divisionOf(part)).map(({ isCopy, isPartial }) => [isCopy, isPartial]),
    [
      [false, true],
      [true, true],
      [false, true],
      [true, true],
    ],
  );
  assert.deepEqual(
    divisionOf(parts[3])
      .runs.flat()
      .map(({ start }) => start),
    [0, 0, 3, 3],
  );
});

test('heads that do not divide are refused, and so is a parameter that the table does not know', () => {
  for (const placement of [
    { by: 'column', heads: 6 },
    { by: 'row', heads: 6 },
    { by: 'column', heads: 3 },
    { by: 'column', heads: 2, sections: 3 },
  ] as const) {
    assert.throws(
      () => divided(matrix([6, 6]), placement, 4),
      (error) => error instanceof TrainyardError && error.code === 'CONFIG_CONFLICT',
    );
  }
  assert.throws(
    () => divideDeclarations([matrix([2, 2])], {}, axisOf(0, 2)),
    (error) => error instanceof TrainyardError && error.code === 'MODEL_INVALID',
  );
});

test('what is on every rank has a part of its gradient where it acts on parts', () => {
  const vector = matrix([4]);
  const partial = (placement: Placement, sequence: boolean): boolean =>
    divisionOf(divideDeclarations([vector], { weight: placement }, axisOf(1, 2, sequence))[0]).isPartial;
  assert.equal(partial({ by: 'replicated' }, false), false);
  assert.equal(partial({ by: 'replicated', inside: true }, false), true);
  assert.equal(partial({ by: 'replicated' }, true), true);
});

function matrix(shape: readonly number[]): ParameterDeclaration {
  return { name: 'weight', shape, initializer: { kind: 'constant', value: 0 } };
}

function divided(
  whole: ParameterDeclaration,
  placement: Placement,
  worldSize: number,
): readonly ParameterDeclaration[] {
  return Array.from({ length: worldSize }, (_, rank) =>
    divideDeclarations([whole], { weight: placement }, axisOf(rank, worldSize)),
  ).flat();
}

function divisionOf(declaration: ParameterDeclaration | undefined): Division {
  assert(declaration?.division);
  return declaration.division;
}

/** How many ranks have each place along the divided dimension. */
function covered(parts: readonly ParameterDeclaration[]): readonly number[] {
  const { shape, dimension = 0, runs } = divisionOf(parts[0]);
  const counts = Array.from({ length: shape[dimension] ?? 0 }, () => 0);
  for (const { start, length } of runs.flat())
    for (let place = start; place < start + length; place += 1) counts[place] = (counts[place] ?? 0) + 1;
  return counts;
}

function axisOf(rank: number, worldSize: number, sequence = false): TensorAxis {
  const same = (): never => assert.fail('declaring exchanges nothing');
  return { rank, size: worldSize, sequence, sum: same, max: same, concatenate: same, scatterSum: same };
}
