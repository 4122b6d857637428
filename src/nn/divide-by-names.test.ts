import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import type { Block, Model } from './block.js';
import { divideByNames, type NamedPlacement } from './divide-by-names.js';
import type { TensorAxis } from './tensor-axis.js';

const initializer = { kind: 'constant', value: 0 } as const;

const BLOCK: Block = {
  name: 'layer',
  parameters: [
    { name: 'qkv.weight', shape: [12, 4], initializer },
    { name: 'out.weight', shape: [4, 6], initializer },
    { name: 'gain', shape: [4], initializer },
  ],
  forward: (_parameters, input) => input,
};

const MODEL: Model = { architecture: 'own', vocabularySize: 8, blocks: [BLOCK] };

const COLUMN: NamedPlacement = { patterns: ['qkv'], partition_type: 'column', sections: 3 };
const ROW: NamedPlacement = { patterns: ['^layer\\.out'], partition_type: 'row' };

function divided(rules: readonly NamedPlacement[], size = 2, isStrict = false) {
  const axis = { rank: 1, size, sequence: false } as TensorAxis;
  return divideByNames(MODEL, { rules, isStrict }, axis).blocks[0]?.parameters ?? [];
}

function refuses(says: RegExp, ...asked: Parameters<typeof divided>): void {
  assert.throws(
    () => divided(...asked),
    (error) =>
      error instanceof TrainyardError && error.code === 'CONFIG_CONFLICT' && says.test(error.message),
  );
}

test('rules place parameters by their full names, the first first, and the rest is whole', () => {
  const [queries, output, gain] = divided([COLUMN, { ...ROW, patterns: ['qkv', 'out'] }]);
  assert.deepEqual([queries?.shape, output?.shape, gain?.shape], [[6, 4], [4, 3], [4]]);
  assert.deepEqual(
    queries?.division?.runs[1]?.map(({ start }) => start),
    [2, 6, 10],
  );
  assert.equal(gain?.division?.by, 'replicated');
});

test('what rules leave open, or match in vain, is refused, and so are sizes that do not divide', () => {
  refuses(/layer\.gain/, [COLUMN, ROW], 2, true);
  divided([COLUMN, ROW, { patterns: ['gain'], partition_type: 'skip' }], 2, true);
  refuses(/matches no parameter/, [COLUMN, { ...ROW, patterns: ['proj'] }]);
  refuses(/cannot be divided/, [ROW], 4);
});
