import { createHash } from 'node:crypto';
import { TrainyardError } from '../base/errors.js';
import { expandNodelist, expandTasksPerNode } from './nodelist.js';
import type { Variables } from './variables.js';
import { integer, malformed, text } from './variables.js';

/** What a scheduler's own variables say, in torchrun's words. */
export interface SchedulerPlace {
  /** RANK, WORLD_SIZE, LOCAL_RANK, … ; those that a person has set are left out where they only add to it. */
  readonly variables: Variables;
  /** Who said so, for messages. */
  readonly source: string;
}

/**
 * Reads the place of a rank that `srun` (Slurm), `mpirun` of Open MPI, or `mpiexec` of MPICH or Intel MPI has
 * started. Undefined where none has: not in the script of `sbatch`, not in an interactive shell of `salloc` or
 * `srun --pty`, and not for the only task of a step, for then this process is to start the ranks itself.
 *
 * `mpirun` inside an allocation of Slurm starts its helpers with srun, whose variables its ranks inherit; therefore MPI's
 * own come first.
 *
 * @throws TrainyardError USAGE where its variables are missing, malformed or contradict each other
 */
export function schedulerPlace(variables: Variables): SchedulerPlace | undefined {
  const found = openMpi(variables) ?? pmi(variables) ?? slurm(variables);
  if (found === undefined || found.size === 1) return undefined;
  const { source, rank, size, localRank, localSize, host } = found;
  const isLocal = localSize === size;
  return {
    source,
    variables: {
      RANK: String(rank),
      WORLD_SIZE: String(size),
      ...(localRank !== undefined && { LOCAL_RANK: String(localRank) }),
      ...(localSize !== undefined && { LOCAL_WORLD_SIZE: String(localSize) }),
      ...(host !== undefined && { GROUP_RANK: host }),
      MASTER_ADDR: text(variables, 'MASTER_ADDR') ?? (isLocal ? '127.0.0.1' : found.master),
      MASTER_PORT: text(variables, 'MASTER_PORT') ?? String(portOf(found.job)),
      TRAINYARD_RUN_ID: text(variables, 'TRAINYARD_RUN_ID') ?? found.job,
    },
  };
}

interface Found {
  readonly source: string;
  readonly rank: number;
  readonly size: number;
  readonly localRank: number | undefined;
  readonly localSize: number | undefined;
  /** Tells hosts apart. */
  readonly host: string | undefined;
  /** Host of rank 0, where the scheduler says so. */
  readonly master: string | undefined;
  /** The same for all ranks of one start, and for no other start. */
  readonly job: string;
}

function openMpi(variables: Variables): Found | undefined {
  if (text(variables, 'OMPI_COMM_WORLD_SIZE') === undefined) return undefined;
  return {
    source: 'OMPI_COMM_WORLD_SIZE',
    ...rankOf(variables, 'OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),
    ...localOf(variables, 'OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_LOCAL_SIZE', 'OMPI_COMM_WORLD_SIZE'),
    host: text(variables, 'PMIX_HOSTNAME'),
    master: undefined,
    job: text(variables, 'PMIX_NAMESPACE') ?? text(variables, 'OMPI_MCA_ess_base_jobid') ?? 'mpi',
  };
}

/** MPICH's process manager, from which Intel's is made. */
function pmi(variables: Variables): Found | undefined {
  if (text(variables, 'PMI_SIZE') === undefined || isSlurmsOwnPmi(variables)) return undefined;
  return {
    source: 'PMI_SIZE',
    ...rankOf(variables, 'PMI_RANK', 'PMI_SIZE'),
    ...localOf(variables, 'MPI_LOCALRANKID', 'MPI_LOCALNRANKS', 'PMI_SIZE'),
    host: undefined,
    master: undefined,
    job: text(variables, 'PMI_JOBID') ?? 'mpi',
  };
}

/** Slurm has a PMI plugin, which says what srun says, who knows more. */
function isSlurmsOwnPmi(variables: Variables): boolean {
  const pairs = [
    ['PMI_RANK', 'SLURM_PROCID'],
    ['PMI_SIZE', 'SLURM_STEP_NUM_TASKS'],
  ] as const;
  return pairs.every(([left, right]) => text(variables, left) === text(variables, right));
}

/**
 * `sbatch` sets SLURM_PROCID and SLURM_NTASKS in its script as well, which is no rank. Only srun speaks of a step, and
 * in an interactive one it has a terminal.
 */
function isSlurmTask(variables: Variables): boolean {
  const isStep = text(variables, 'SLURM_STEP_NUM_TASKS') !== undefined;
  return (
    isStep && text(variables, 'SLURM_PROCID') !== undefined && text(variables, 'SLURM_PTY_PORT') === undefined
  );
}

function slurm(variables: Variables): Found | undefined {
  if (!isSlurmTask(variables)) return undefined;
  const place = rankOf(variables, 'SLURM_PROCID', 'SLURM_STEP_NUM_TASKS');
  if (place.size === 1) return undefined;
  const node = integer(variables, 'SLURM_NODEID') ?? 0;
  const job = text(variables, 'SLURM_JOB_ID') ?? text(variables, 'SLURM_JOBID') ?? '0';
  const attempt = text(variables, 'SLURM_RESTART_COUNT') ?? '0';
  const localRank = integer(variables, 'SLURM_LOCALID');
  const localSize = slurmLocalSize(variables, node);
  if (localRank !== undefined && localSize !== undefined && localRank >= localSize) {
    throw contradiction(variables, 'SLURM_LOCALID', 'SLURM_STEP_TASKS_PER_NODE');
  }
  return {
    source: 'SLURM_STEP_NUM_TASKS',
    ...place,
    localRank,
    localSize,
    host: String(node),
    master: slurmMaster(variables),
    job: `slurm-${job}.${text(variables, 'SLURM_STEP_ID') ?? '0'}.${attempt}`,
  };
}

function slurmLocalSize(variables: Variables, node: number): number | undefined {
  const list = text(variables, 'SLURM_STEP_TASKS_PER_NODE');
  if (list === undefined) return integer(variables, 'SLURM_NTASKS_PER_NODE');
  const size = expandTasksPerNode(list)?.[node];
  if (size === undefined)
    throw malformed('SLURM_STEP_TASKS_PER_NODE', list, `ranks of node ${node}, as in 4(x2),3`);
  return size;
}

function slurmMaster(variables: Variables): string | undefined {
  const name = ['SLURM_STEP_NODELIST', 'SLURM_JOB_NODELIST', 'SLURM_NODELIST'].find(
    (candidate) => text(variables, candidate) !== undefined,
  );
  const list = name === undefined ? undefined : text(variables, name);
  if (name === undefined || list === undefined) return undefined;
  const first = expandNodelist(list)?.[0];
  if (first === undefined) throw malformed(name, list, 'a list of nodes, as in node[01-04,7],login');
  return first;
}

function rankOf(variables: Variables, rankName: string, sizeName: string): Pick<Found, 'rank' | 'size'> {
  const [rank, size] = [integer(variables, rankName), integer(variables, sizeName)];
  if (rank === undefined || size === undefined) {
    throw new TrainyardError('USAGE', {
      what: `The environment variable ${rankName} is not set, but ${sizeName} is.`,
      expected: 'both, or neither',
      cure: `start the ranks with one launcher, or unset ${sizeName} to start them with --ranks`,
    });
  }
  if (rank >= size) throw contradiction(variables, rankName, sizeName);
  return { rank, size };
}

function localOf(
  variables: Variables,
  rankName: string,
  sizeName: string,
  worldName: string,
): Pick<Found, 'localRank' | 'localSize'> {
  const [localRank, localSize] = [integer(variables, rankName), integer(variables, sizeName)];
  if (localRank !== undefined && localSize !== undefined && localRank >= localSize) {
    throw contradiction(variables, rankName, sizeName);
  }
  if (localSize !== undefined && localSize > Number(text(variables, worldName))) {
    throw contradiction(variables, sizeName, worldName);
  }
  return { localRank, localSize };
}

/** Below the ports that systems give to whoever asks for any, and seldom the same for two jobs on a node. */
function portOf(job: string): number {
  return 15_000 + (createHash('sha256').update(job).digest().readUInt32LE(0) % 15_000);
}

function contradiction(variables: Variables, left: string, right: string): TrainyardError {
  return new TrainyardError('USAGE', {
    what: 'Two environment variables contradict each other.',
    expected: `${left} below ${right}`,
    got: `${left}=${variables[left] ?? ''} and ${right}=${variables[right] ?? ''}`,
  });
}
