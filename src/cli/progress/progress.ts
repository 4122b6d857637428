import type { EndEvent, ProgressEvent, StartEvent, StepEvent } from '../../launch/events.js';

/** All that the progress displays know of a run. */
export interface Progress {
  readonly start?: StartEvent;
  readonly last?: StepEvent;
  readonly end?: EndEvent;
  /** The loss curve so far, at most `LONGEST_CURVE` points. */
  readonly losses: readonly number[];
  /** How many steps each point of the curve stands for. */
  readonly stepsPerPoint: number;
  /** Smoothed milliseconds from one step to the next; undefined before the second step. */
  readonly stepMs?: number;
  /** How far the farthest replica was from the mean of all when they were last brought together. */
  readonly drift?: number;
  /** Whether the ranks have been asked to save and leave. */
  readonly isStopping: boolean;
}

const LONGEST_CURVE = 1024;

/** Weight of the newest step in the smoothed time: a handful of steps decide. */
const SMOOTHING = 0.2;

export const NO_PROGRESS: Progress = { losses: [], stepsPerPoint: 1, isStopping: false };

export function withEvent(progress: Progress, event: ProgressEvent): Progress {
  switch (event.event) {
    case 'start':
      return { ...progress, start: event };
    case 'step':
      return withStep(progress, event);
    case 'checkpoint':
    case 'restart':
      return progress;
    case 'end':
      return { ...progress, end: event };
    default:
      return event satisfies never;
  }
}

/** Seconds until the last step, as the smoothed step time says; undefined while nobody knows, and at the end. */
export function secondsLeft({ start, last, stepMs }: Progress): number | undefined {
  if (start === undefined || last === undefined || stepMs === undefined) return undefined;
  if (last.step >= start.steps) return undefined;
  return ((start.steps - last.step) * stepMs) / 1000;
}

/** Tokens per second over the last steps rather than the last one, which jumps. */
export function tokensPerSecond({ last, stepMs }: Progress): number | undefined {
  if (last === undefined) return undefined;
  return stepMs === undefined ? last.tokens_per_second : (last.tokens * 1000) / stepMs;
}

/** The first step is left out of the time: it warms up. */
function withStep(progress: Progress, event: StepEvent): Progress {
  const before = progress.stepMs ?? event.step_ms;
  const timed = progress.last === undefined ? {} : { stepMs: before + SMOOTHING * (event.step_ms - before) };
  const isPoint = event.step % progress.stepsPerPoint === 0;
  const losses = isPoint ? [...progress.losses, event.loss] : progress.losses;
  const isFull = losses.length > LONGEST_CURVE;
  return {
    ...progress,
    ...timed,
    ...(event.drift_max !== undefined && { drift: event.drift_max }),
    last: event,
    losses: isFull ? losses.filter((_, index) => index % 2 === 1) : losses,
    stepsPerPoint: isFull ? progress.stepsPerPoint * 2 : progress.stepsPerPoint,
  };
}
