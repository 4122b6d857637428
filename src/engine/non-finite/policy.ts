import { z } from 'zod';

/** What `non_finite` asks for. */
export interface NonFinitePolicy {
  readonly action: 'stop' | 'skip' | 'rewind';
  readonly limit: number;
}

/** What becomes of a step whose numbers are not finite. */
export type Decision = NonFinitePolicy['action'];

/** What a run remembers of such steps; plain data, as checkpoints keep it. */
export const nonFiniteStateSchema = z.strictObject({
  /** Steps in a row, up to the last one, whose update was left out. */
  skippedInARow: z.int().min(0),
  /** How often the run went back. */
  rewinds: z.int().min(0),
  /** Numbers of the global batches that are passed over, counted from 0, in ascending order. */
  leftOut: z.array(z.int().min(0)).max(1_000_000).readonly(),
});

export type NonFiniteState = Readonly<z.output<typeof nonFiniteStateSchema>>;

/** The state of a run that begins. */
export const NOTHING_SEEN: NonFiniteState = { skippedInARow: 0, rewinds: 0, leftOut: [] };

/** The state after a step whose numbers were all finite. */
export function afterFiniteStep(state: NonFiniteState): NonFiniteState {
  return state.skippedInARow === 0 ? state : { ...state, skippedInARow: 0 };
}

/**
 * Decides about a step whose numbers are not finite.
 *
 * @param batch the number of the global batch that it was given
 * @returns the state to go on with: after a rewind that of the run at its end, not of the checkpoint
 */
export function decide(
  { action, limit }: NonFinitePolicy,
  state: NonFiniteState,
  batch: number,
): { readonly decision: Decision; readonly state: NonFiniteState } {
  switch (action) {
    case 'stop':
      return { decision: 'stop', state };
    case 'skip':
      if (state.skippedInARow >= limit) return { decision: 'stop', state };
      return { decision: 'skip', state: { ...state, skippedInARow: state.skippedInARow + 1 } };
    case 'rewind': {
      if (state.rewinds >= limit) return { decision: 'stop', state };
      const leftOut = ascending([...state.leftOut, batch]);
      return { decision: 'rewind', state: { ...state, rewinds: state.rewinds + 1, leftOut } };
    }
    default:
      return action satisfies never;
  }
}

/** Goes on from a checkpoint: what was found since it was saved stays known, or the run would come to it again. */
export function afterLoading(state: NonFiniteState, saved: NonFiniteState): NonFiniteState {
  return {
    skippedInARow: saved.skippedInARow,
    rewinds: Math.max(state.rewinds, saved.rewinds),
    leftOut: ascending([...state.leftOut, ...saved.leftOut]),
  };
}

/** The number of the global batch of a step, both counted from 0: those that are left out are passed over. */
export function batchOfStep(step: number, leftOut: NonFiniteState['leftOut']): number {
  return leftOut.reduce((batch, out) => (out <= batch ? batch + 1 : batch), step);
}

function ascending(numbers: readonly number[]): readonly number[] {
  return [...new Set(numbers)].sort((left, right) => left - right);
}
