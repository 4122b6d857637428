import { join } from 'node:path';
import { invariant, TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';
import type { ProcessGroup } from '../comm/process-group.js';
import { demandSpace } from '../store/checkpoint/demand-space.js';
import { checkTag, tagOfStep } from '../store/checkpoint/tag.js';
import { ThreadedWriter } from '../store/checkpoint/threaded-writer.js';
import { type CheckpointDraft, type CheckpointPart, draftCheckpoint } from '../store/checkpoint/write.js';
import {
  type CheckpointWriter,
  type Committed,
  DirectWriter,
  type Job,
  type Outcome,
  outcomeOf,
} from '../store/checkpoint/writer.js';
import { bytesOf, manifestContent, type RunState } from '../store/checkpoint.js';
import type { CheckpointConfig } from '../store/config.js';
import { nodeFileSystem } from '../store/file-system.js';
import { piecesToSave, runStateOf, type TrainingState } from './checkpoint.js';
import { gatherNumbers, gatherText } from './gather-bytes.js';

/** A checkpoint that is there for good. Every rank knows it. */
export interface SavedCheckpoint {
  readonly step: number;
  readonly folder: string;
  /** Of the tensors of all ranks. */
  readonly bytes: number;
  /** How long this rank could do nothing else. */
  readonly stallMs: number;
  /** From the call to the end. */
  readonly totalMs: number;
  /** Names of older checkpoints that were removed. */
  readonly removed: readonly string[];
}

/** A save that is going on, the same on every rank but for its jobs. */
interface PendingSave {
  readonly draft: CheckpointDraft;
  readonly state: RunState;
  readonly bytes: number;
  readonly startMs: number;
  readonly part: Job<CheckpointPart>;
  /** On rank 0 when all parts are there; on others it counts as done. */
  commit?: Job<Committed> | 'elsewhere';
  stallMs: number;
}

/** How long ranks may be apart while files are written: the deadline of collectives is no measure for disks. */
const LONGEST_WRITE_MS = 60 * 60 * 1000;

/**
 * The saves of one rank, by the protocol of [Note: committing a checkpoint]: every rank writes its part, all tell each
 * other how that went, and rank 0 commits. With a decoupled writer the ranks look after each step how far they are.
 */
export class CheckpointSaver {
  readonly #config: CheckpointConfig;
  readonly #group: ProcessGroup;
  readonly #warn: (message: string) => void;
  #writer: CheckpointWriter | undefined;
  #pending: PendingSave | undefined;
  readonly #saved: SavedCheckpoint[] = [];
  /** Tags that this run goes on from. */
  readonly #inUse: string[] = [];

  constructor(config: CheckpointConfig, group: ProcessGroup, warn: (message: string) => void) {
    this.#config = config;
    this.#group = group;
    this.#warn = warn;
  }

  /** A checkpoint that this run goes on from stays, however old it becomes. */
  protect(tag: string): void {
    this.#inUse.push(tag);
  }

  /** Whether the next step begins before a save has ended. */
  get isDecoupled(): boolean {
    return this.#config.writer.decoupled;
  }

  /**
   * Saves, or begins to, when what goes on already has ended. Every rank must call it.
   *
   * @param tag default `step-N`
   * @returns the folder that the checkpoint has, or will have; undefined where it failed and that is a warning
   * @throws TrainyardError OUTPUT_UNWRITABLE; CHECKPOINT_INVALID for an impossible tag, or for different ones where that is
   *   an error
   */
  save(directory: string, state: TrainingState, steps: number, givenTag?: string): string | undefined {
    this.finish();
    const startMs = performance.now();
    const tag = this.#agreeOnTag(checkTag(givenTag ?? tagOfStep(steps)));
    const runState = runStateOf(state, steps);
    const sources = piecesToSave(state);
    const bytes = gatherNumbers(this.#group, bytesOf(sources)).reduce((sum, each) => sum + each, 0);
    const isGoingOn = this.#attempt(() => {
      const draft = this.#agreeOnDraft(directory, tag, bytes);
      this.#writer ??= this.isDecoupled ? new ThreadedWriter() : new DirectWriter();
      const part = this.#writer.writePart({ draft, rank: this.#group.rank, sources });
      const stallMs = performance.now() - startMs;
      this.#pending = { draft, state: runState, bytes, startMs, part, stallMs };
    });
    const isThere = isGoingOn && (this.isDecoupled || this.finish());
    return isThere ? join(directory, tag) : undefined;
  }

  /** The checkpoints that have been completed since this was asked last. */
  take(): readonly SavedCheckpoint[] {
    return this.#saved.splice(0);
  }

  /**
   * Looks how far a save is that goes on beside training; it waits for nothing but the other ranks' answers. Every rank
   * must call it after the same step.
   *
   * @throws TrainyardError OUTPUT_UNWRITABLE, on every rank, when any of them could not write and that ends the run
   */
  advance(): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    const startMs = performance.now();
    const job = pending.commit ?? pending.part;
    const isDone = job === 'elsewhere' || job.isDone;
    const areAllDone = gatherNumbers(this.#group, isDone ? 1 : 0).every((done) => done === 1);
    pending.stallMs += performance.now() - startMs;
    if (areAllDone) this.#attempt(() => this.#goOn(pending, this.#group));
  }

  /**
   * Waits for the end of a save. Every rank must call it.
   *
   * @returns false when it failed, and that is a warning
   * @throws TrainyardError OUTPUT_UNWRITABLE as `advance`
   */
  finish(): boolean {
    const pending = this.#pending;
    if (pending === undefined) return true;
    const patient = this.#group.withDeadline(LONGEST_WRITE_MS);
    try {
      return this.#attempt(() => {
        while (this.#pending !== undefined) this.#goOn(pending, patient);
      });
    } finally {
      patient.close();
    }
  }

  /** False for a failure that is a warning; it is the same on every rank. */
  #attempt(work: () => void): boolean {
    try {
      work();
      return true;
    } catch (error) {
      if (this.#group.rank === 0 && this.#pending) this.#writer?.abandon(this.#pending.draft);
      this.#pending = undefined;
      if (this.#config.on_failure === 'stop' || !(error instanceof TrainyardError)) throw error;
      if (this.#group.rank === 0) this.#warn(error.message);
      return false;
    }
  }

  /** Ends the thread, if there is one. What is going on must have been finished. */
  close(): void {
    this.#writer?.close();
  }

  /** One phase further: from all parts to the commit, from there to the end. Waits for what is not done. */
  #goOn(pending: PendingSave, group: ProcessGroup): void {
    const startMs = performance.now();
    if (pending.commit === undefined) {
      const parts = outcomesOfRanks(pending.draft.folder, group, pending.part.outcome());
      // Of thousands of tensors on as many ranks, only the first one need read all.
      const commit = () =>
        this.#commit(
          pending,
          parts.map((part) => part()),
        );
      pending.commit = group.rank === 0 ? commit() : 'elsewhere';
      pending.stallMs += performance.now() - startMs;
      return;
    }
    const own: Outcome<Committed> =
      pending.commit === 'elsewhere' ? { ok: true, result: { removed: [] } } : pending.commit.outcome();
    const { draft, state, bytes } = pending;
    const [first] = outcomesOfRanks(draft.folder, group, own)
      .slice(0, 1)
      .map((outcome) => outcome());
    this.#pending = undefined;
    if (first?.left !== undefined && group.rank === 0) {
      this.#warn(`old checkpoints in ${draft.directory} could not be removed: ${first.left}`);
    }
    this.#saved.push({
      step: state.step,
      folder: join(draft.directory, draft.tag),
      bytes,
      stallMs: pending.stallMs + performance.now() - startMs,
      totalMs: performance.now() - pending.startMs,
      removed: first?.removed ?? [],
    });
  }

  #commit({ draft, state }: PendingSave, parts: readonly CheckpointPart[]): Job<Committed> {
    const { keep } = this.#config;
    invariant(this.#writer, 'a save has a writer');
    return this.#writer.commit({
      draft,
      content: manifestContent(state),
      parts,
      ...(keep !== undefined && { retention: { keep, inUse: this.#inUse } }),
    });
  }

  /** @throws TrainyardError CHECKPOINT_INVALID where `checkpoint.tag_validation` is "Fail" */
  #agreeOnTag(own: string): string {
    const [tag = own, ...others] = gatherText(this.#group, own);
    const rank = 1 + others.findIndex((other) => other !== tag);
    const validation = this.#config.tag_validation;
    if (rank === 0 || validation === 'Ignore') return tag;
    const what = 'The ranks save checkpoints of different names.';
    const got = `${quote(tag)} on rank 0, ${quote(others[rank - 1] ?? '')} on rank ${rank}`;
    if (validation === 'Fail') {
      throw new TrainyardError('CHECKPOINT_INVALID', {
        what,
        where: 'checkpoint.tag_validation "Fail"',
        got,
        cure: 'Give engine.save the same name on every rank.',
      });
    }
    if (this.#group.rank === 0) this.#warn(`${what} ${got}: rank 0 decides`);
    return tag;
  }

  /**
   * Rank 0 thinks of the name that the folder has until it is complete, when it has looked whether there is room.
   *
   * @throws TrainyardError OUTPUT_UNWRITABLE
   */
  #agreeOnDraft(directory: string, tag: string, bytes: number): CheckpointDraft {
    const draft = draftCheckpoint(directory, tag);
    const own = outcomeOf(() => {
      if (this.#group.rank === 0) demandSpace(nodeFileSystem, directory, bytes);
      return draft.folder;
    });
    const [said] = outcomesOfRanks(draft.folder, this.#group, own);
    return { ...draft, folder: said?.() ?? draft.folder };
  }
}

/**
 * What all ranks have done, in their order; each is read when it is asked for.
 *
 * @param place for a failure that does not say where it was
 * @throws TrainyardError on every rank, as the first that failed says
 */
function outcomesOfRanks<Result>(
  place: string,
  group: ProcessGroup,
  own: Outcome<Result>,
): readonly (() => Result)[] {
  const failure = own.ok ? '' : JSON.stringify(own);
  const failures = gatherText(group, failure);
  const rank = failures.findIndex((text) => text !== '');
  if (rank !== -1) {
    const { code, report } = JSON.parse(failures[rank] ?? '') as Extract<Outcome<Result>, { ok: false }>;
    throw new TrainyardError(code, { ...report, where: `${report.where ?? place} (rank ${rank})` });
  }
  const results = gatherText(group, JSON.stringify(own.ok ? own.result : null));
  return results.map((text) => () => JSON.parse(text) as Result);
}
