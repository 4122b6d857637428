import { join } from 'node:path';
import type { ErrorCode } from '../../base/error-codes.js';
import { type ErrorReport, TrainyardError } from '../../base/errors.js';
import { removeQuietly, reportingWriteErrors } from '../durable.js';
import { type FileSystem, nodeFileSystem } from '../file-system.js';
import { describeFileError } from '../open-file.js';
import { DamagedCheckpoint, listCandidates, openCandidate } from './read.js';
import { nextSerial, type Retention, removeOldCheckpoints } from './retention.js';
import {
  type CheckpointDraft,
  type CheckpointPart,
  clearRemains,
  commitCheckpoint,
  type ManifestContent,
  type PieceSource,
  writePart,
} from './write.js';

/** What one rank has to write. */
export interface PartTask {
  readonly draft: CheckpointDraft;
  readonly rank: number;
  readonly sources: readonly PieceSource[];
}

/** What the first rank does when all parts are there. */
export interface CommitTask {
  readonly draft: CheckpointDraft;
  readonly content: ManifestContent;
  readonly parts: readonly CheckpointPart[];
  /** Absent: all checkpoints stay. */
  readonly retention?: Retention;
}

/** What a commit did; plain data. */
export interface Committed {
  /** Tags of old checkpoints that were removed. */
  readonly removed: readonly string[];
  /** Why old ones could not be removed: the new one is there all the same. */
  readonly left?: string;
}

/** How some work ended; plain data, to be told to other ranks and threads. */
export type Outcome<Result> =
  | { readonly ok: true; readonly result: Result }
  | { readonly ok: false; readonly code: ErrorCode; readonly report: ErrorReport };

/** Work that may still be going on. */
export interface Job<Result> {
  readonly isDone: boolean;
  /** Waits for the end. */
  outcome(): Outcome<Result>;
}

/** Writes the part of one rank, and commits on the first. */
export interface CheckpointWriter {
  writePart(task: PartTask): Job<CheckpointPart>;
  commit(task: CommitTask): Job<Committed>;
  /** Removes what a failed save has left. */
  abandon(draft: CheckpointDraft): void;
  close(): void;
}

/** Does everything at once, on the thread that asks for it; reads each piece a few MiB at a time. */
export class DirectWriter implements CheckpointWriter {
  readonly #fileSystem: FileSystem;

  constructor(fileSystem: FileSystem = nodeFileSystem) {
    this.#fileSystem = fileSystem;
  }

  writePart(task: PartTask): Job<CheckpointPart> {
    return finished(() => runPartTask(this.#fileSystem, task));
  }

  commit(task: CommitTask): Job<Committed> {
    return finished(() => runCommitTask(this.#fileSystem, task));
  }

  abandon({ folder }: CheckpointDraft): void {
    removeQuietly(this.#fileSystem, folder);
  }

  close(): void {}
}

function finished<Result>(work: () => Result): Job<Result> {
  const result = outcomeOf(work);
  return { isDone: true, outcome: () => result };
}

/** @throws TrainyardError OUTPUT_UNWRITABLE */
export function runPartTask(fileSystem: FileSystem, { draft, rank, sources }: PartTask): CheckpointPart {
  return writing(draft, () => {
    if (rank === 0) clearRemains(fileSystem, draft.directory, draft);
    return writePart(fileSystem, draft, rank, sources);
  });
}

/** @throws TrainyardError OUTPUT_UNWRITABLE */
export function runCommitTask(
  fileSystem: FileSystem,
  { draft, content, parts, retention }: CommitTask,
): Committed {
  const before = listCandidates(draft.directory, fileSystem);
  writing(draft, () => commitCheckpoint(fileSystem, draft, nextSerial(before), content, parts));
  if (retention === undefined) return { removed: [] };
  try {
    const { manifest, reason } = openCandidate(join(draft.directory, draft.tag), draft.tag, fileSystem);
    if (manifest === undefined) return { removed: [], left: reason ?? 'the new one cannot be read' };
    const older = before.filter(({ tag }) => tag !== draft.tag);
    return { removed: removeOldCheckpoints(fileSystem, older, retention) };
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error)) throw error;
    return { removed: [], left: describeFileError(error) };
  }
}

function writing<Result>({ directory, tag }: CheckpointDraft, work: () => Result): Result {
  return reportingWriteErrors('The checkpoint', join(directory, tag), work);
}

/** What an error says, in a form that other ranks and threads understand. */
export function outcomeOf<Result>(work: () => Result): Outcome<Result> {
  try {
    return { ok: true, result: work() };
  } catch (error) {
    if (error instanceof TrainyardError) return { ok: false, code: error.code, report: error.report };
    const report = {
      what: 'The checkpoint could not be written; what was there before is untouched.',
      got: error instanceof DamagedCheckpoint ? `read back, ${error.message}` : String(error),
    };
    return { ok: false, code: 'OUTPUT_UNWRITABLE', report };
  }
}
