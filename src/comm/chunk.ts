/** Where the part of so many elements begins that a rank owns: one for each rank, as equal as can be. */
export function chunkStart(elements: number, rank: number, ranks: number): number {
  return Math.floor((rank * elements) / ranks);
}
