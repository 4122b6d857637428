import { TrainyardError } from '../base/errors.js';
import { nearestNames } from '../base/nearest-names.js';
import type { BlockChoice } from './config.js';

type Selection = Omit<Extract<BlockChoice, { policy: 'selected' }>, 'policy'>;

/**
 * The indices of the blocks that a selection means: every k-th one, counted from 1, and those whose name a
 * pattern matches.
 *
 * @throws TrainyardError CONFIG_INVALID for a pattern that matches no block.
 */
export function selectBlocks(
  { every, blocks: patterns = [] }: Selection,
  blocks: readonly { readonly name: string }[],
): ReadonlySet<number> {
  const indices = [...blocks.keys()];
  const counted = every === undefined ? [] : indices.filter((index) => (index + 1) % every === 0);
  const named = patterns.flatMap((pattern) => {
    const matches = matcherOf(pattern);
    const found = indices.filter((index) => matches.test(blocks[index]?.name ?? ''));
    if (found.length === 0) throw noSuchBlock(pattern, blocks);
    return found;
  });
  return new Set([...counted, ...named]);
}

function matcherOf(pattern: string): RegExp {
  const literal = pattern.split('*').map((part) => part.replaceAll(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  return new RegExp(`^${literal.join('.*')}$`, 's');
}

function noSuchBlock(pattern: string, blocks: readonly { readonly name: string }[]): TrainyardError {
  const names = blocks.map(({ name }) => name).filter((name) => name !== '');
  const [meant] = nearestNames(pattern, names, 1);
  return new TrainyardError('CONFIG_INVALID', {
    what: 'A name of recompute.blocks matches no block of the model.',
    where: 'recompute.blocks',
    expected: `one of ${names.slice(0, 12).join(', ')}${names.length > 12 ? ', …' : ''}, or a pattern with *`,
    got: pattern,
    ...(meant !== undefined && { cure: `Did you mean "${meant}"?` }),
  });
}
