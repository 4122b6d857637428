/**
 * The candidate that a person who typed `given` most likely meant, or undefined when none is near.
 *
 * Near means: equal but for case and separators, or at most a third of the letters apart.
 */
export function nearest(given: string, candidates: Iterable<string>): string | undefined {
  const plain = normalized(given);
  let best: { readonly name: string; readonly distance: number } | undefined;
  for (const name of candidates) {
    if (Math.abs(name.length - given.length) > LONGEST_DIFFERENCE) continue;
    const distance = editDistance(plain, normalized(name));
    if (best === undefined || distance < best.distance) best = { name, distance };
  }
  if (best === undefined) return undefined;
  return best.distance <= Math.max(1, Math.floor(plain.length / 3)) && best.distance < plain.length
    ? best.name
    : undefined;
}

const LONGEST_DIFFERENCE = 12;

function normalized(name: string): string {
  return name.slice(0, 80).toLowerCase().replaceAll(/[-_ ]/g, '');
}

/**
 * The number of insertions, deletions, replacements and swaps of neighbours that turn `left` into `right`
 * (the optimal string alignment distance).
 */
function editDistance(left: string, right: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const replaced = at(previous, column - 1) + (left[row - 1] === right[column - 1] ? 0 : 1);
      let distance = Math.min(replaced, at(previous, column) + 1, at(current, column - 1) + 1);
      const swapped =
        row > 1 && column > 1 && left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      if (swapped) distance = Math.min(distance, at(beforePrevious, column - 2) + 1);
      current.push(distance);
    }
    beforePrevious = previous;
    previous = current;
  }
  return at(previous, right.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? 0;
}
