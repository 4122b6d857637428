import { nearestNames } from '../../base/nearest-names.js';
import { quote } from '../../base/printable.js';
import { modelUnreadable } from './folder-file.js';
import type { ModelFolder } from './model-folder.js';

/** A parameter that a model wants from a folder. */
export interface WantedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** The names it may be stored under, the preferred one first. */
  readonly storedNames: readonly string[];
  /** The parameter that owns the memory when this one is tied to it; either may be the one that is stored. */
  readonly tiedTo?: string;
}

const MOST_LISTED = 8;

/**
 * Finds the stored tensor of each parameter that a model wants: its stored name by the parameter's name.
 *
 * @param mayIgnore whether a stored tensor that nobody wants may be left unread
 * @throws TrainyardError MODEL_UNREADABLE listing what is missing (with the nearest names), what is left
 * over, what has another shape, and tied weights that are stored twice and differ
 */
export function matchTensors(
  folder: ModelFolder,
  wanted: readonly WantedTensor[],
  mayIgnore: (stored: string) => boolean,
): ReadonlyMap<string, string> {
  const stored = new Map<string, string>();
  for (const { name, storedNames } of wanted) {
    const found = storedNames.find((each) => folder.has(each));
    if (found !== undefined) stored.set(name, found);
  }
  tie(folder, wanted, stored);
  const used = new Set(stored.values());
  const unexpected = folder.names.filter((name) => !used.has(name) && !mayIgnore(name));
  const missing = wanted.filter(({ name }) => !stored.has(name));
  const problems = [
    ...list(missing, ({ name }) => `lacks ${quote(name)}${nearest(name, unexpected)}`),
    ...list(unexpected, (name) => `holds ${quote(name)}, which the model has no place for`),
    ...shapeProblems(folder, wanted, stored),
  ];
  if (problems.length > 0) {
    throw modelUnreadable('The weights do not fit the configuration beside them.', folder.path, {
      expected: `the ${wanted.length} parameters of the model`,
      got: `a folder that\n            ${problems.join(';\n            ')}`,
      cure: 'Give a folder whose weights and config.json belong together.',
    });
  }
  return stored;
}

/** Lets tied parameters stand in for each other. */
function tie(folder: ModelFolder, wanted: readonly WantedTensor[], stored: Map<string, string>): void {
  for (const { name, tiedTo } of wanted) {
    if (tiedTo === undefined) continue;
    const own = stored.get(name);
    const owners = stored.get(tiedTo);
    if (own === undefined && owners !== undefined) stored.set(name, owners);
    if (own !== undefined && owners === undefined) stored.set(tiedTo, own);
    if (own === undefined || owners === undefined || own === owners) continue;
    if (!equalBytes(folder, own, owners)) {
      throw modelUnreadable('Two tied weights are stored with different values.', folder.path, {
        expected: `${quote(own)} equal to ${quote(owners)}, since the configuration ties them`,
        cure: 'Set tie_word_embeddings to false in config.json if they are meant to differ.',
      });
    }
  }
}

function equalBytes(folder: ModelFolder, left: string, right: string): boolean {
  const [one, other] = [folder.read(left), folder.read(right)];
  return one.dtype === other.dtype && Buffer.compare(one.bytes, other.bytes) === 0;
}

function shapeProblems(
  folder: ModelFolder,
  wanted: readonly WantedTensor[],
  stored: ReadonlyMap<string, string>,
): readonly string[] {
  const different = wanted.flatMap(({ name, shape }) => {
    const found = stored.get(name);
    const actual = found === undefined ? shape : folder.shapeOf(found);
    return actual.length === shape.length && actual.every((size, dimension) => size === shape[dimension])
      ? []
      : [{ name, shape, actual }];
  });
  return list(
    different,
    ({ name, shape, actual }) => `has ${quote(name)} as [${actual.join(', ')}], not [${shape.join(', ')}]`,
  );
}

function nearest(name: string, names: readonly string[]): string {
  const [near] = nearestNames(name, names, 1);
  return near === undefined ? '' : ` (the nearest: ${quote(near)})`;
}

/** The first few, described, and how many more there are. */
function list<Item>(items: readonly Item[], describe: (item: Item) => string): readonly string[] {
  const shown = items.slice(0, MOST_LISTED).map(describe);
  const more = items.length - shown.length;
  return more > 0 ? [...shown, `and ${more} more such`] : shown;
}
