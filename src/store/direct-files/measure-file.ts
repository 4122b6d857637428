import { AlignedBuffers } from '../../tensor/aligned-buffers.js';
import type { DirectFile, FileWork } from '../direct-files.js';

/** What is asked for at once; two of them are under way, as tiles of an update are. */
const TILE_BYTES = 64 * 2 ** 20;
const TILES = 2;

/** Seconds that writing all of a file takes, with zeros, and then reading it. */
export function measureFile(file: DirectFile): { readonly write: number; readonly read: number } {
  const tile = Math.min(TILE_BYTES, file.bytes);
  const buffers = new AlignedBuffers(TILES * tile);
  const memories = Array.from({ length: TILES }, () => buffers.take(tile, 'uint8'));
  const pass = (kind: 'write' | 'read'): number => {
    const start = performance.now();
    const works: (FileWork | undefined)[] = [];
    for (let offset = 0, turn = 0; offset < file.bytes; offset += tile, turn = (turn + 1) % TILES) {
      const memory = memories[turn];
      works[turn]?.wait();
      if (memory !== undefined)
        works[turn] = file[kind](offset, memory, 0, Math.min(tile, file.bytes - offset));
    }
    for (const work of works) work?.wait();
    return (performance.now() - start) / 1000;
  };
  try {
    return { write: pass('write'), read: pass('read') };
  } finally {
    for (const memory of memories) buffers.give(memory);
    buffers.dispose();
  }
}
