/**
 * The names most like `wanted`, best first, for "did you mean": at most `limit`, and only those that differ
 * in less than about a third of their letters.
 */
export function nearestNames(wanted: string, names: Iterable<string>, limit = 3): readonly string[] {
  return namesWithin(wanted, names, limit, (letters) => Math.max(2, Math.floor(letters / 3)));
}

/** The name that `wanted` is but for a slip: one letter, two in a long name. */
export function sameNameButForASlip(wanted: string, names: Iterable<string>): string | undefined {
  return namesWithin(wanted, names, 1, (letters) => (letters < 12 ? 1 : 2))[0];
}

function namesWithin(
  wanted: string,
  names: Iterable<string>,
  limit: number,
  slips: (letters: number) => number,
): readonly string[] {
  const scored: { readonly name: string; readonly distance: number }[] = [];
  for (const name of names) {
    // Half of the letters must be right, or any short name would do.
    const allowed = Math.min(slips(Math.max(wanted.length, name.length)), Math.floor(wanted.length / 2));
    if (Math.abs(wanted.length - name.length) > allowed) continue;
    const distance = editDistance(wanted.toLowerCase(), name.toLowerCase(), allowed);
    if (distance <= allowed) scored.push({ name, distance });
  }
  scored.sort((left, right) => left.distance - right.distance || (left.name < right.name ? -1 : 1));
  return scored.slice(0, limit).map((each) => each.name);
}

/**
 * Insertions, deletions, replacements and swaps of neighbours that turn one text into the other (optimal
 * string alignment); gives up with `atMost + 1` once a whole row is above `atMost`.
 */
function editDistance(left: string, right: string, atMost: number): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    let smallest = row;
    for (let column = 1; column <= right.length; column += 1) {
      const same = left[row - 1] === right[column - 1];
      let distance = Math.min(
        at(previous, column) + 1,
        at(current, column - 1) + 1,
        at(previous, column - 1) + (same ? 0 : 1),
      );
      const swapped = left[row - 1] === right[column - 2] && left[row - 2] === right[column - 1];
      if (row > 1 && column > 1 && swapped) distance = Math.min(distance, at(beforePrevious, column - 2) + 1);
      current.push(distance);
      smallest = Math.min(smallest, distance);
    }
    if (smallest > atMost) return atMost + 1;
    beforePrevious = previous;
    previous = current;
  }
  return at(previous, right.length);
}

function at(row: readonly number[], column: number): number {
  return row[column] ?? Number.POSITIVE_INFINITY;
}
