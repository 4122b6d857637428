import type { TimedInstruction } from '../step/executor.js';
import type { ReplicaDrift } from '../step/handlers/step-state.js';
import type { NonFiniteStep } from './non-finite/guard.js';

/**
 * What one training step did, the same on every rank; but where ranks train replicas (`redundancy`) what this rank's own
 * did with its part of the batch.
 */
export interface StepResult {
  /** Number of the step, from 1. */
  readonly step: number;
  /**
   * Mean over the target tokens of the whole global batch. Of replicas the mean of all where they are brought together,
   * and otherwise this rank's own.
   */
  readonly loss: number;
  /** Global norm of the gradients before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Target tokens of the global batch; of replicas this rank's part of it. */
  readonly tokens: number;
  readonly milliseconds: number;
  /** Of these, how long this rank did nothing but communicate (`ExchangeTime`): it hid behind nothing. */
  readonly exposedCommunicationMs: number;
  /** Of these, how long this rank stood still for other tiers; undefined where all of its training state is on the device. */
  readonly exposedOffloadMs?: number;
  /** What this rank has handed to others in this step, in bytes (`ProcessGroup.exchangedBytes`). */
  readonly exchangedBytes: number;
  /** Whether the update was left out, because a gradient was not finite. */
  readonly skipped: boolean;
  /** Of those, the parameter whose gradient was the first. */
  readonly overflow?: string;
  /** Where the loss or the gradients were not finite and `non_finite` says what to do: what that is, and what was found. */
  readonly nonFinite?: NonFiniteStep;
  /** Steps of the run so far whose update was left out. */
  readonly skippedSteps: number;
  /** The factor on the loss that this step was computed with (fp16; otherwise 1). */
  readonly lossScale: number;
  /**
   * Whether any rank was asked to stop. Replicas ask each other when they are brought together, and not before; those
   * that never are stop alone.
   */
  readonly stopAsked: boolean;
  /** How far replicas were apart before they were brought together at the end of this step. */
  readonly drift?: ReplicaDrift;
}

/** How a step is watched and ended. */
export interface StepOptions {
  /** This rank was asked to stop; the result says so on every rank. */
  readonly votesToStop?: boolean;
  /** Called after each instruction. */
  readonly record?: (timed: TimedInstruction) => void;
}
