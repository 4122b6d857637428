import { synchronizationOf } from '../redundancy/config.js';
import type { ResolvedConfig } from './config.js';
import { type OptimizerPhase, optimizerPhase } from './optimizer-phase.js';

/** What tells the programs of a run from each other. */
export interface StepTurn {
  readonly phase: OptimizerPhase;
  /** Whether the step ends with a synchronisation of replicas. */
  readonly synchronizes: boolean;
}

export const FIRST_TURN: StepTurn = { phase: 'warm-up', synchronizes: false };

/** How far a run has come. */
export interface RunPosition {
  readonly steps: number;
  /** Of those, the ones that updated something. */
  readonly updates: number;
  /** Whether every rank has the whole momentum, where ranks exchange one. */
  readonly hasWholeMomentum: boolean;
}

/** The turn of the step that comes next. */
export function nextTurn(
  config: ResolvedConfig,
  { steps, updates, hasWholeMomentum }: RunPosition,
): StepTurn {
  const synchronization = synchronizationOf(config.redundancy);
  return {
    phase: optimizerPhase(config, updates, hasWholeMomentum),
    synchronizes: synchronization !== undefined && (steps + 1) % synchronization.every === 0,
  };
}

/** The turns that a run is known to take when it begins. */
export function knownTurns({ redundancy }: ResolvedConfig): readonly StepTurn[] {
  return synchronizationOf(redundancy) === undefined
    ? [FIRST_TURN]
    : [FIRST_TURN, { ...FIRST_TURN, synchronizes: true }];
}

export function turnName({ phase, synchronizes }: StepTurn): string {
  return synchronizes ? `${phase}, synchronizing` : phase;
}
