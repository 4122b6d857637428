/** How many heads an attention has: of queries, and of keys and values, which groups of queries share. */
export interface HeadCounts {
  readonly query: number;
  readonly keyValue: number;
}

/** Of so many heads those of one of these ranks; where there are fewer of keys and values, ranks have the same one. */
export function headsOfRank({ query, keyValue }: HeadCounts, ranks = 1): HeadCounts {
  return { query: query / ranks, keyValue: Math.max(1, keyValue / ranks) };
}
