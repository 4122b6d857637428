import { draftCheckpoint } from '../src/store/checkpoint/write.js';
import { runCommitTask, runPartTask } from '../src/store/checkpoint/writer.js';
import { manifestContent } from '../src/store/checkpoint.js';
import { nodeFileSystem } from '../src/store/file-system.js';

// Saves one checkpoint: its arguments are DIRECTORY STEP. Loads no libtorch, so that little else makes system calls.

const [directory = '', step = '0'] = process.argv.slice(2);
const draft = draftCheckpoint(directory, `step-${step}`);
const sources = ['weight', 'moment'].map((name, index) => ({
  name,
  dtype: 'float32' as const,
  shape: [64],
  start: 0,
  elements: 64,
  read: (target: Uint8Array) => void target.fill(Number(step) * 16 + index),
}));
const part = runPartTask(nodeFileSystem, { draft, rank: 0, sources });
const state = { step: Number(step), data: { seed: 0, position: 0 }, random: {}, model: null, extra: {} };
const content = manifestContent(state);
runCommitTask(nodeFileSystem, { draft, content, parts: [part], retention: { keep: 2, inUse: [] } });
