import { draftCheckpoint } from '../src/store/checkpoint/write.js';
import { runCommitTask, runPartTask } from '../src/store/checkpoint/writer.js';
import { manifestContent } from '../src/store/checkpoint.js';
import { type FileSystem, nodeFileSystem } from '../src/store/file-system.js';

/** How many parts it has. */
export const PARTS = 3;
const TENSORS = ['embed.weight', 'optimizer.exp_avg.embed.weight', 'norm.weight'];
const ELEMENTS = 24;

/** What is read back at once needs no waiting for the disk. */
const unsynced: FileSystem = { ...nodeFileSystem, sync() {}, syncDirectory() {} };

/** Saves a checkpoint of several ranks, each with an even share of every tensor. */
export function savePartedCheckpoint(directory: string, step: number): void {
  const draft = draftCheckpoint(directory, `step-${step}`);
  const elements = ELEMENTS / PARTS;
  const parts = Array.from({ length: PARTS }, (_, rank) =>
    runPartTask(unsynced, {
      draft,
      rank,
      sources: TENSORS.map((name, index) => ({
        name,
        dtype: 'float32',
        shape: [4, 6],
        start: rank * elements,
        elements,
        read: (target) => void target.fill(step * 64 + rank * 8 + index),
      })),
    }),
  );
  const state = { step, data: { seed: 0, position: 0 }, random: {}, model: null, extra: { step } };
  runCommitTask(unsynced, { draft, content: manifestContent(state), parts });
}
