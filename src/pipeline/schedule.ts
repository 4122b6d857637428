import { invariant } from '../base/errors.js';
import { gpipe } from './schedules/gpipe.js';
import { interleaved } from './schedules/interleaved.js';
import { oneForwardOneBackward } from './schedules/one-forward-one-backward.js';
import { zeroBubble } from './schedules/zero-bubble.js';

/** The orders in which stages can do their work. */
export type ScheduleName = 'gpipe' | '1f1b' | 'interleaved' | 'zero-bubble';

/** A pipeline as one of its stages sees it. All numbers but `stage` are at least 1. */
export interface PipelineShape {
  readonly stages: number;
  /** Parts of the model on each stage. */
  readonly chunks: number;
  readonly microBatches: number;
  /** From 0. */
  readonly stage: number;
}

/** What a stage does at a stretch: one chunk, one micro-batch, in one direction. */
export interface Turn {
  readonly kind: 'forward' | 'backward' | 'backward-input' | 'backward-weights';
  readonly chunk: number;
  readonly micro: number;
}

/** The turns of one stage, in order. A pure function: every stage knows what the others do. */
export type Schedule = (shape: PipelineShape) => readonly Turn[];

const PLANS: { readonly [Name in ScheduleName]: Schedule } = {
  gpipe,
  '1f1b': oneForwardOneBackward,
  interleaved,
  'zero-bubble': zeroBubble,
};

/**
 * The turns of one stage by the name of the schedule. Only `interleaved` has more than one chunk on a stage.
 */
export function planTurns(name: ScheduleName, shape: PipelineShape): readonly Turn[] {
  invariant(shape.chunks === 1 || name === 'interleaved', `${name} has one chunk on each stage`);
  return PLANS[name](shape);
}
