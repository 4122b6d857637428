import type { ErrorReport } from '../base/errors.js';

/**
 * What a rank tells the world: one JSON object a line.
 *
 * The engine emits these through its sink. Under a supervisor they travel over a pipe of their own, so that
 * whatever a rank or a library prints can never be mistaken for them; `train --json` prints the public
 * kinds on stdout, unchanged. Field names are part of the public interface, hence their underscores.
 */
export type RankEvent = PublicEvent | AnswerEvent | LogEvent | SectionEvent;

/** The kinds that `train --json` prints. */
export type PublicEvent = ProgressEvent | ErrorEvent;

/** The kinds that tell how a run goes. */
export type ProgressEvent = StartEvent | StepEvent | CheckpointEvent | RestartEvent | EndEvent;

/** Emitted once, by rank 0, when everything is loaded and the first step is about to begin. */
export interface StartEvent {
  readonly event: 'start';
  readonly world_size: number;
  /** Number of trained values in the model, tied weights counted once. */
  readonly parameters: number;
  /** Number of values that are not trained, where there are any: those of the model under an adapter. */
  readonly frozen_parameters?: number;
  /** The number of the last step of this run; steps count from 1. */
  readonly steps: number;
  /** The step that comes first: 1, or one more than the checkpoint's. */
  readonly first_step: number;
  /** "cpu" or "cuda". */
  readonly device: string;
  /** Tokens that one global step reads, where the data makes that a constant. */
  readonly tokens_per_step?: number;
  /** Where the configuration says how often a log gets a line: every so many steps. */
  readonly steps_per_print?: number;
  /** The folder that will hold the trained model. */
  readonly output?: string;
}

/**
 * Emitted by rank 0 after every optimizer step. A value that is not finite travels as `null`. Where ranks train replicas
 * (`redundancy`), rank 0 speaks of its own and of its part of the batch.
 */
export interface StepEvent {
  readonly event: 'step';
  readonly step: number;
  /** Mean over the whole global batch; of replicas the mean of all in a step that brings them together, else rank 0's own. */
  readonly loss: number;
  /** Global norm before clipping. */
  readonly grad_norm: number;
  readonly learning_rate: number;
  /** Tokens of this step, all ranks together; of replicas always those of rank 0. */
  readonly tokens: number;
  readonly tokens_per_second: number;
  readonly step_ms: number;
  /** Of `step_ms`, how long rank 0 started communication or waited for it and computed nothing. */
  readonly exposed_communication_ms?: number;
  /** What rank 0 has handed to other ranks in this step. */
  readonly exchanged_bytes?: number;
  /**
   * Of a step that brings replicas together: how far they were from their mean before, ‖replica − mean‖ / ‖mean‖ of their
   * weights; the mean over the replicas and the largest.
   */
  readonly drift_mean?: number;
  readonly drift_max?: number;
  /** Whether the update was left out because gradients overflowed. */
  readonly skipped: boolean;
  /** Steps of the run so far that were skipped. */
  readonly skipped_steps?: number;
  /** The factor on the loss that the step was computed with (fp16; otherwise 1). */
  readonly loss_scale?: number;
  /** Of a skipped step: the parameter whose gradient was the first that was not finite. */
  readonly overflow?: string;
  /** Of a step that `non_finite` decides about: what becomes of it, and the first tensor that was not finite. */
  readonly non_finite?: {
    readonly decision: 'stop' | 'skip' | 'rewind';
    readonly rank?: number;
    readonly module?: string;
    readonly tensor?: string;
    readonly value?: 'NaN' | 'infinity';
    /** The folder that `trainyard replay` takes. */
    readonly bundle?: string;
  };
  /** Resident memory of rank 0 (on a GPU: allocated device memory). */
  readonly memory_bytes?: number;
}

/** Emitted by rank 0 when a checkpoint is there for good: what comes after it loses no step before it. */
export interface CheckpointEvent {
  readonly event: 'checkpoint';
  /** Its last step. */
  readonly step: number;
  readonly path: string;
  /** Of the tensors of all ranks. */
  readonly bytes: number;
  /** How long rank 0 could do nothing else for it. */
  readonly stall_ms: number;
  /** From the first moment of the save to the last. */
  readonly total_ms: number;
  /** Names of older checkpoints that were removed after it. */
  readonly removed: readonly string[];
}

/** Emitted by the supervisor when it starts the ranks again after one was lost. */
export interface RestartEvent {
  readonly event: 'restart';
  /** Which of the restarts in an hour it is, from 1. */
  readonly attempt: number;
  /** How many ranks there are from now on. */
  readonly world_size: number;
  /** The last step that is not lost: that of the newest checkpoint or copy of this run; 0: it begins anew. */
  readonly step: number;
  /** The rank that was lost, and the step that it was in. */
  readonly lost_rank: number;
  readonly lost_step: number;
  readonly reason: string;
}

/** Emitted once, by rank 0, after the last step or after a stop that was asked for. */
export interface EndEvent {
  readonly event: 'end';
  /** The number of the last completed step. */
  readonly steps: number;
  /** The last step's loss. */
  readonly loss: number;
  /** One per rank. */
  readonly peak_memory_bytes: readonly number[];
  /** The most bytes of tensors during a step, one per rank: as the step program says, and as it was. */
  readonly predicted_peak_bytes?: readonly number[];
  readonly measured_peak_bytes?: readonly number[];
  /** What the predicted bytes consist of: by account ("parameters", "activations"), one per rank. */
  readonly memory_ledger?: readonly Readonly<Record<string, number>>[];
  readonly output?: string;
  /** Present and true when the run left early because it was asked to (and has saved). */
  readonly stopped?: boolean;
}

/** Emitted by any rank that cannot go on; the process ends right after it. */
export interface ErrorEvent {
  readonly event: 'error';
  readonly rank: number;
  /** A code of the error table; `INTERNAL` for an exception that has none. */
  readonly code: string;
  readonly report: ErrorReport;
  readonly exit_code: number;
  /** Milliseconds since the epoch: the earliest of several failures is the cause of the others. */
  readonly time: number;
  /** Where it was thrown; printed only for debugging. */
  readonly stack?: string;
}

/** What rank 0 found out, for a command that asks something in place of training. */
export interface AnswerEvent {
  readonly event: 'answer';
  readonly answer: object;
}

/** A sentence for people, printed on stderr. Rank 0 speaks for all unless the sentence is about one rank. */
export interface LogEvent {
  readonly event: 'log';
  readonly level: 'info' | 'warning';
  readonly message: string;
}

/**
 * Where a rank is: cheap enough for every instruction (3 µs), because it overwrites one record in memory
 * that outlives the process instead of travelling. A supervisor names it when the rank dies.
 */
export interface SectionEvent {
  readonly event: 'section';
  readonly step: number;
  /** The instruction as the program prints it, or "load model", "save checkpoint". */
  readonly instruction: string;
}

/** What the engine is handed: takes events, never throws, returns at once. */
export type EventSink = (event: RankEvent) => void;

type FieldKind = 'number' | 'string' | 'boolean' | 'numbers' | 'strings' | 'object';

/** The fields that must be there, by kind of event. */
const REQUIRED_FIELDS: Readonly<Record<RankEvent['event'], Readonly<Record<string, FieldKind>>>> = {
  start: {
    world_size: 'number',
    parameters: 'number',
    steps: 'number',
    first_step: 'number',
    device: 'string',
  },
  step: {
    step: 'number',
    loss: 'number',
    grad_norm: 'number',
    learning_rate: 'number',
    tokens: 'number',
    tokens_per_second: 'number',
    step_ms: 'number',
    skipped: 'boolean',
  },
  checkpoint: {
    step: 'number',
    path: 'string',
    bytes: 'number',
    stall_ms: 'number',
    total_ms: 'number',
    removed: 'strings',
  },
  restart: {
    attempt: 'number',
    world_size: 'number',
    step: 'number',
    lost_rank: 'number',
    lost_step: 'number',
    reason: 'string',
  },
  end: { steps: 'number', loss: 'number', peak_memory_bytes: 'numbers' },
  error: { rank: 'number', code: 'string', report: 'object', exit_code: 'number', time: 'number' },
  answer: { answer: 'object' },
  log: { level: 'string', message: 'string' },
  section: { step: 'number', instruction: 'string' },
};

/** One line, without its newline. */
export function encodeEvent(event: RankEvent): string {
  return JSON.stringify(event);
}

/** Reads a line back; undefined for anything that is not an event, since a pipe may carry garbage. */
export function decodeEvent(line: string): RankEvent | undefined {
  let value: unknown;
  try {
    value = JSON.parse(line, restoreNonFinite);
  } catch {
    return undefined;
  }
  return isEvent(value) ? value : undefined;
}

/** JSON has no NaN and no infinity; `encodeEvent` leaves `null` where one was. */
function restoreNonFinite(key: string, value: unknown): unknown {
  return value === null && (key === 'loss' || key === 'grad_norm') ? Number.NaN : value;
}

function isEvent(value: unknown): value is RankEvent {
  if (!isRecord(value)) return false;
  const kind = value.event;
  if (typeof kind !== 'string' || !Object.hasOwn(REQUIRED_FIELDS, kind)) return false;
  const fields = REQUIRED_FIELDS[kind as RankEvent['event']];
  return Object.entries(fields).every(([name, expected]) => isOfKind(value[name], expected));
}

function isOfKind(value: unknown, kind: FieldKind): boolean {
  switch (kind) {
    case 'number':
    case 'string':
    case 'boolean':
      return typeof value === kind;
    case 'numbers':
      return Array.isArray(value) && value.every((item) => typeof item === 'number');
    case 'strings':
      return Array.isArray(value) && value.every((item) => typeof item === 'string');
    case 'object':
      return isRecord(value);
    default:
      return kind satisfies never;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
