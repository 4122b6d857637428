import type { RefuseFile, TensorEntry } from './tensor-entry.js';

/**
 * Checks that the tensors tile the data exactly: the first begins it, each begins where another ends, the last
 * ends with the file. Bytes that belong to no tensor could hide a second file; bytes that belong to two make
 * a small file claim a large memory.
 */
export function checkLayout(
  entries: ReadonlyMap<string, TensorEntry>,
  dataStart: number,
  fileBytes: number,
  refuse: RefuseFile,
): void {
  // By the end as well: an empty tensor comes before the one that begins at the same place.
  const inOrder = [...entries].sort(
    ([, left], [, right]) => left.byteOffset - right.byteOffset || left.byteLength - right.byteLength,
  );
  let end = dataStart;
  for (const [name, entry] of inOrder) {
    const begin = entry.byteOffset - dataStart;
    if (entry.byteOffset > end) {
      refuse('no byte lies between two tensors', `${entry.byteOffset - end} before offset ${begin}`, name);
    }
    if (entry.byteOffset < end) {
      refuse('no byte belongs to two tensors', `offset ${begin} inside the tensor before`, name);
    }
    end = entry.byteOffset + entry.byteLength;
    if (end > fileBytes) {
      refuse('every tensor lies inside the file', `the end at byte ${end} of a file of ${fileBytes}`, name);
    }
  }
  if (end !== fileBytes) {
    refuse('the last tensor ends with the file', `${fileBytes - end} bytes after the last tensor`);
  }
}
