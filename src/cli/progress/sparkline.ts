const BLOCKS = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'] as const;
const NOT_FINITE = '×';

/**
 * A curve in one line: `width` columns, each the mean of its share of the values, scaled between the
 * smallest and the largest of them. Fewer values than columns take a column each.
 */
export function sparkline(values: readonly number[], width: number): string {
  const columns = Math.min(width, values.length);
  const means = Array.from({ length: Math.max(0, columns) }, (_, column) =>
    meanOfShare(values, column, columns),
  );
  const finite = means.filter(Number.isFinite);
  const lowest = Math.min(...finite);
  const range = Math.max(...finite) - lowest;
  return means
    .map((mean) => (Number.isFinite(mean) ? block(range === 0 ? 0 : (mean - lowest) / range) : NOT_FINITE))
    .join('');
}

/** Values that are not finite count only where a column has no others. */
function meanOfShare(values: readonly number[], column: number, columns: number): number {
  const share = values.slice(
    Math.floor((column * values.length) / columns),
    Math.floor(((column + 1) * values.length) / columns),
  );
  const finite = share.filter(Number.isFinite);
  return finite.reduce((sum, value) => sum + value, 0) / finite.length;
}

function block(height: number): string {
  return BLOCKS[Math.min(BLOCKS.length - 1, Math.floor(height * BLOCKS.length))] ?? BLOCKS[0];
}
