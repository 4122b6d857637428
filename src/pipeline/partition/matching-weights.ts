import { TrainyardError } from '../../base/errors.js';

/**
 * 1 for every block whose kind or name matches, 0 for all others; upper and lower case are the same, as in DeepSpeed.
 *
 * @throws TrainyardError CONFIG_INVALID for a pattern that is none, CONFIG_CONFLICT where nothing matches
 */
export function matchingWeights(
  pattern: string,
  blocks: readonly { readonly name: string; readonly kind?: string }[],
  where: string,
): readonly number[] {
  const expression = parse(pattern, where);
  const weights = blocks.map(({ name, kind = '' }) =>
    expression.test(kind) || expression.test(name) ? 1 : 0,
  );
  if (weights.some((weight) => weight === 1)) return weights;
  const kinds = [...new Set(blocks.map(({ name, kind = name }) => kind))];
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: 'No block of the model matches the type that stages are to have equally many of.',
    where,
    expected: `a match among ${kinds.join(', ')}`,
    got: pattern,
  });
}

function parse(pattern: string, where: string): RegExp {
  try {
    return new RegExp(pattern, 'i');
  } catch (cause) {
    throw new TrainyardError(
      'CONFIG_INVALID',
      {
        what: 'The type of blocks is not a regular expression.',
        where,
        expected: 'a pattern such as "layers"',
        got: pattern,
      },
      { cause },
    );
  }
}
