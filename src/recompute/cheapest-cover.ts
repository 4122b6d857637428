/** Something that can be chosen: what it costs, and how much it takes off each demand (which may be less than nothing). */
export interface CoverItem {
  readonly cost: number;
  readonly relief: readonly number[];
}

/** Choices made for the first few items that no other such choice beats. */
interface Partial {
  readonly cost: number;
  /** What is still to be taken off each demand. */
  readonly demands: readonly number[];
  readonly chosen: readonly number[];
}

/**
 * The cheapest choice of items whose reliefs bring every demand down to zero or below; undefined where no
 * choice does. Exact: items are decided one by one, and of the choices so far only those are carried on that
 * none dominates, that is, leaves no larger demand at no larger cost (Nemhauser and Ullmann, 1969). Where many
 * items are alike, as the layers of a model are, few choices remain.
 *
 * @returns the indices of the chosen items
 */
export function cheapestCover(
  items: readonly CoverItem[],
  demands: readonly number[],
): readonly number[] | undefined {
  const rows = openRows(items, demands);
  const reliefs = items.map(({ relief }) => rows.map((row) => relief[row] ?? 0));
  const most = restsOf(reliefs, rows.length, (relief) => Math.max(0, relief));
  const least = restsOf(reliefs, rows.length, (relief) => Math.min(0, relief));

  let choices: readonly Partial[] = [{ cost: 0, demands: rows.map((row) => demands[row] ?? 0), chosen: [] }];
  for (const [index, { cost }] of items.entries()) {
    const relief = reliefs[index] ?? [];
    const grown = choices.flatMap((choice) => [
      choice,
      {
        cost: choice.cost + cost,
        demands: choice.demands.map((demand, row) => demand - (relief[row] ?? 0)),
        chosen: [...choice.chosen, index],
      },
    ]);
    const possible = grown.filter((choice) =>
      choice.demands.every((demand, row) => demand <= (most[index + 1]?.[row] ?? 0)),
    );
    choices = undominated(possible.map((choice) => settled(choice, least[index + 1] ?? [])));
  }
  const covers = choices.filter((choice) => choice.demands.every((demand) => demand <= 0));
  return covers.reduce<Partial | undefined>(
    (best, choice) => (best === undefined || choice.cost < best.cost ? choice : best),
    undefined,
  )?.chosen;
}

/** The demands that are open or can become so, each once. */
function openRows(items: readonly CoverItem[], demands: readonly number[]): readonly number[] {
  const seen = new Set<string>();
  return [...demands.keys()].filter((row) => {
    const reliefs = items.map(({ relief }) => relief[row] ?? 0);
    const worst = reliefs.reduce((demand, relief) => demand - Math.min(0, relief), demands[row] ?? 0);
    const key = [demands[row], ...reliefs].join(' ');
    if (worst <= 0 || seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** For each item, what it and all after it can add up to, row by row; one more entry, of zeros, at the end. */
function restsOf(
  reliefs: readonly (readonly number[])[],
  rows: number,
  part: (relief: number) => number,
): readonly (readonly number[])[] {
  const rests: (readonly number[])[] = [Array.from({ length: rows }, () => 0)];
  for (const relief of [...reliefs].reverse()) {
    const after = rests[0] ?? [];
    rests.unshift(after.map((sum, row) => sum + part(relief[row] ?? 0)));
  }
  return rests;
}

/** Counts demands as equal that are met by more than the items to come can take back: then more choices compare. */
function settled(choice: Partial, least: readonly number[]): Partial {
  return { ...choice, demands: choice.demands.map((demand, row) => Math.max(demand, least[row] ?? 0)) };
}

function undominated(choices: readonly Partial[]): readonly Partial[] {
  const kept: Partial[] = [];
  const byCost = [...choices].sort((left, right) => left.cost - right.cost || sumOf(left) - sumOf(right));
  for (const choice of byCost) {
    const isBeaten = kept.some((other) =>
      other.demands.every((demand, row) => demand <= (choice.demands[row] ?? 0)),
    );
    if (!isBeaten) kept.push(choice);
  }
  return kept;
}

function sumOf({ demands }: Partial): number {
  return demands.reduce((sum, demand) => sum + demand, 0);
}
