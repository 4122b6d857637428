import { invariant } from '../base/errors.js';
import { gpipe } from './schedules/gpipe.js';
import { interleaved } from './schedules/interleaved.js';
import { oneForwardOneBackward } from './schedules/one-forward-one-backward.js';
import type { PipelineShape, Schedule, Turn } from './schedules/turn.js';
import { zeroBubble } from './schedules/zero-bubble.js';

/** The orders in which stages can do their work. */
export type ScheduleName = 'gpipe' | '1f1b' | 'interleaved' | 'zero-bubble';

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
