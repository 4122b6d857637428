import type { Instruction } from '../step/instruction.js';
import type { Pass, Program } from '../step/program.js';

/** How the replicas of a run come together. */
export interface ReplicaMeeting {
  /** Whether they do at the end of this step. */
  readonly synchronizes: boolean;
  /** Flat tensors that the outer optimizer keeps, the common weights included. */
  readonly outerTensors: number;
}

/**
 * Every rank trains a replica (local SGD; DiLoCo, arXiv 2311.08105): its gradients are nobody else's, so that it is
 * alone among its data-parallel ranks, and the passes after this one add nothing. What brings replicas together is
 * divided over the ranks: as many elements of the flat weights for each.
 *
 * @param meeting undefined: they never meet
 */
export function separateReplicas(meeting: ReplicaMeeting | undefined): Pass {
  return (program) => {
    const { data } = program.groups;
    const apart: Program = {
      ...program,
      groups: { data: [program.rank] },
      features: [...program.features, `replica of ${data.length}`],
    };
    if (meeting === undefined) return apart;
    const slice = (program.trainableElements / data.length) * program.bytesPerElement;
    return {
      ...apart,
      groups: { data: [program.rank], replicas: data },
      optimizerBytes: program.optimizerBytes + meeting.outerTensors * slice,
    };
  };
}

/**
 * After the update all replicas are brought together: each rank gets its slice of every replica, makes its slice of the
 * new common weights from them, and all get all of these. The ranks tell each other how far apart they were, their loss
 * and their votes to stop.
 */
export const synchronizeReplicas: Pass = (program) => {
  const [exchange, publish, compare] = [{ op: 'exchange' }, { op: 'publish' }, { op: 'compare' }] as const;
  const meeting: readonly Instruction[] = [
    exchange,
    { op: 'wait', started: exchange },
    { op: 'merge' },
    publish,
    compare,
    { op: 'wait', started: compare },
    { op: 'wait', started: publish },
  ];
  return {
    ...program,
    synchronizes: true,
    features: [...program.features, 'synchronises'],
    instructions: [...program.instructions, ...meeting],
  };
};
