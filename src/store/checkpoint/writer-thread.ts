import { type MessagePort, workerData } from 'node:worker_threads';
import { nodeFileSystem } from '../file-system.js';
import type { CopiedPiece, WriterAnswer, WriterRequest } from './threaded-writer.js';
import { wholePiece } from './write.js';
import { outcomeOf, runCommitTask, runPartTask } from './writer.js';

// The thread of `ThreadedWriter`. It loads no libtorch: what it is given are bytes.

const { port, answers } = workerData as { readonly port: MessagePort; readonly answers: Int32Array };

port.on('message', (request: WriterRequest) => {
  const buffers =
    request.kind === 'part' ? request.pieces.map(({ bytes }) => bytes.buffer as ArrayBuffer) : [];
  const answer: WriterAnswer = { outcome: outcomeOf(() => run(request)), buffers };
  port.postMessage(answer, buffers);
  Atomics.add(answers, 0, 1);
  Atomics.notify(answers, 0);
});

function run(request: WriterRequest): ReturnType<typeof runPartTask> | ReturnType<typeof runCommitTask> {
  switch (request.kind) {
    case 'part':
      return runPartTask(nodeFileSystem, { ...request.task, sources: request.pieces.map(sourceOf) });
    case 'commit':
      return runCommitTask(nodeFileSystem, request.task);
    default:
      return request satisfies never;
  }
}

function sourceOf({ bytes, ...piece }: CopiedPiece): ReturnType<typeof wholePiece> {
  return { ...wholePiece({ ...piece, bytes }), ...piece };
}
