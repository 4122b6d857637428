import { InvalidArgumentError } from 'commander';

/** What `--ranks` asks for: as many as `most`, and after losses no fewer than `least`. */
export interface RanksOption {
  readonly least: number;
  readonly most: number;
}

/**
 * Reads `4`, or `2:4` for a run that may go on with as few as two.
 *
 * @throws InvalidArgumentError for anything else
 */
export function ranksOption(text: string): RanksOption {
  const [, first, second] = /^([1-9]\d{0,5})(?::([1-9]\d{0,5}))?$/.exec(text) ?? [];
  const [least, most] = [Number(first), Number(second ?? first)];
  if (first !== undefined && least <= most) return { least, most };
  throw new InvalidArgumentError(
    'Expected a whole number of at least 1, or two as in 2:4 (the fewest first).',
  );
}
