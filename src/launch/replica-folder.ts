import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { TrainyardError } from '../base/errors.js';

/** Set for ranks whose supervisor keeps copies of their state: the folder for these. */
export const REPLICA_VARIABLE = 'TRAINYARD_REPLICA_FOLDER';

const MEMORY = '/dev/shm';
const PREFIX = 'trainyard-replica-';

/** A folder in the host's memory that outlives the ranks and not their supervisor. */
export interface ReplicaFolder {
  readonly path: string;
  /** That of the newest copy; undefined where there is none yet. */
  newestStep(): number | undefined;
  remove(): void;
}

/**
 * Makes a folder for copies of training state, and removes those of supervisors that were killed.
 *
 * @throws TrainyardError CONFIG_UNSUPPORTED without a file system in memory
 */
export function createReplicaFolder(): ReplicaFolder {
  if (!existsSync(MEMORY)) {
    throw new TrainyardError('CONFIG_UNSUPPORTED', {
      what: 'There is no file system in memory for copies of the state.',
      where: 'checkpoint.replicate',
      expected: MEMORY,
      cure: 'Remove checkpoint.replicate, or mount a tmpfs there.',
    });
  }
  for (const name of readdirSync(MEMORY)) {
    if (isLeft(name)) rmSync(join(MEMORY, name), { recursive: true, force: true });
  }
  const path = mkdtempSync(join(MEMORY, `${PREFIX}${process.pid}-`));
  return {
    path,
    newestStep: () => newestStepIn(path),
    remove: () => rmSync(path, { recursive: true, force: true }),
  };
}

/** A copy has its name once it is whole. */
function newestStepIn(path: string): number | undefined {
  const steps = readdirSync(path).flatMap((name) => {
    const [, step] = /^step-(\d+)$/.exec(name) ?? [];
    return step === undefined ? [] : [Number(step)];
  });
  return steps.length === 0 ? undefined : Math.max(...steps);
}

function isLeft(name: string): boolean {
  const [, owner] = new RegExp(`^${PREFIX}(\\d+)-`).exec(name) ?? [];
  return owner !== undefined && !existsSync(`/proc/${owner}`);
}
