import type { Flight } from '../comm/flight/flight.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { Model } from '../nn/block.js';
import type { Schedule } from '../optim/lr-schedules/schedule.js';
import type { TrainingOptimizer } from '../optim/optimizer-group.js';
import type { Device } from '../tensor/dtype.js';
import type { ResolvedConfig } from './config.js';
import type { TrainingErrors } from './error-memory.js';
import type { RunLossScaling } from './loss-scaling.js';
import type { MeshGroups } from './mesh-groups.js';
import type { ModelSource } from './model-source.js';
import type { OuterState } from './outer-state.js';
import type { ProgramLinks } from './program-links.js';
import type { RunIdentity } from './run-identity.js';
import type { StepPrograms } from './step-programs.js';
import type { TrainingMemory } from './training-memory.js';

/** The parts an engine is put together from, by `initialize`. */
export interface EngineParts {
  readonly config: ResolvedConfig;
  readonly source: ModelSource;
  /** What this rank computes of the source's model. */
  readonly model: Model;
  readonly links: ProgramLinks;
  readonly programs: StepPrograms;
  readonly memory: TrainingMemory;
  readonly optimizer: TrainingOptimizer;
  /** Absent where messages lose nothing that must be made good. */
  readonly errors?: TrainingErrors;
  /** Absent where no replicas are brought together. */
  readonly outer?: OuterState;
  readonly schedule: Schedule;
  readonly lossScaling: RunLossScaling;
  /** All ranks. */
  readonly group: ProcessGroup;
  readonly axes: MeshGroups;
  /** The same ranks with all the time they need: where replicas that never meet wait for each other at the end. */
  readonly reunion?: ProcessGroup | undefined;
  /** Remembers collectives, and has to know which instruction starts them. */
  readonly flight?: Flight | undefined;
  readonly device: Device;
  readonly identity: RunIdentity;
  /** Says something to the people who train. */
  readonly warn: (message: string) => void;
}
