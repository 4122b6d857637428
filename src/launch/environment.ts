import { TrainyardError } from '../base/errors.js';
import { schedulerPlace } from './scheduler-environment.js';
import { integer, malformed, text, type Variables } from './variables.js';

/** Which process of how many this is, and where the ranks meet. */
export interface RankEnvironment {
  readonly rank: number;
  readonly worldSize: number;
  /** Position among the ranks of this host; chooses the GPU. */
  readonly localRank: number;
  readonly localWorldSize: number;
  /** The same for the ranks of one host, and no others. */
  readonly hostName: string;
  /** Host of the store where the ranks find each other. */
  readonly masterAddress: string;
  readonly masterPort: number;
  /** Prefix for every key in the store, so that a restarted or neighbouring run cannot be mistaken for this one. */
  readonly runId: string;
  /** torchrun may host the store itself: then rank 0, too, only connects. */
  readonly storeIsHosted: boolean;
  /** Interface for Gloo, such as "lo"; empty for the host name's own. */
  readonly networkInterface: string;
  /** Where torchrun wants a failure described. */
  readonly errorFile: string | undefined;
  readonly source: 'launcher' | 'variables' | 'single';
}

/** Set by our launcher for the processes that it starts: the identifier of the run. */
export const RUN_ID_VARIABLE = 'TRAINYARD_RUN_ID';

/** Set for a process that holds a supervisor's file descriptors. */
export const SUPERVISED_VARIABLE = 'TRAINYARD_SUPERVISED';

/**
 * Reads a rank's place from RANK and WORLD_SIZE (ours, torchrun's, DeepSpeed's) and their companions, or from what Slurm or
 * MPI say. Undefined when nobody says anything: then this process is nobody's rank and may start some.
 *
 * @param requestedRanks what `--ranks` asked for, which must not contradict the variables
 * @throws TrainyardError USAGE when a variable is missing, malformed or contradicts another one
 */
export function rankEnvironment(variables: Variables, requestedRanks?: number): RankEnvironment | undefined {
  if (text(variables, 'RANK') === undefined && text(variables, 'WORLD_SIZE') === undefined) {
    const place = schedulerPlace(variables);
    return place && namedPlace({ ...variables, ...place.variables }, place.source, requestedRanks);
  }
  demandSamePlace(variables);
  return namedPlace(variables, 'WORLD_SIZE', requestedRanks);
}

function namedPlace(
  variables: Variables,
  sizeName: string,
  requestedRanks: number | undefined,
): RankEnvironment {
  const rank = requiredInteger(variables, 'RANK', 'WORLD_SIZE');
  const worldSize = requiredInteger(variables, 'WORLD_SIZE', 'RANK');
  if (rank >= worldSize) throw conflict(variables, 'RANK', 'WORLD_SIZE', 'a rank below the world size');
  if (requestedRanks !== undefined && requestedRanks !== worldSize) {
    throw new TrainyardError('USAGE', {
      what: `--ranks ${requestedRanks} contradicts the environment variable ${sizeName}=${worldSize}.`,
      cure: `leave --ranks out when another launcher starts the ranks, or unset ${sizeName}`,
    });
  }
  const masterAddress =
    worldSize === 1 ? (text(variables, 'MASTER_ADDR') ?? LOOPBACK) : meetingAddress(variables);
  const isLocal = masterAddress === LOOPBACK || masterAddress === 'localhost' || masterAddress === '::1';
  const place = localPlace(variables, rank, worldSize, isLocal);
  return {
    rank,
    worldSize,
    ...place,
    hostName: hostName(variables, rank - place.localRank),
    masterAddress,
    masterPort: meetingPort(variables, worldSize),
    runId: runId(variables),
    storeIsHosted: text(variables, 'TORCHELASTIC_USE_AGENT_STORE') === 'True',
    networkInterface: text(variables, 'GLOO_SOCKET_IFNAME') ?? (isLocal ? 'lo' : ''),
    errorFile: text(variables, 'TORCHELASTIC_ERROR_FILE'),
    source: text(variables, SUPERVISED_VARIABLE) === '1' ? 'launcher' : 'variables',
  };
}

/**
 * RANK and WORLD_SIZE that were left over in the environment of a job would make every task the same rank. Launchers that
 * a scheduler starts, as torchrun, number their ranks as they like and leave a mark.
 */
function demandSamePlace(variables: Variables): void {
  const isMarked = ['TORCHELASTIC_RUN_ID', SUPERVISED_VARIABLE].some(
    (name) => text(variables, name) !== undefined,
  );
  if (isMarked) return;
  const place = schedulerPlace(variables);
  if (place === undefined || place.variables.WORLD_SIZE !== text(variables, 'WORLD_SIZE')) return;
  if (place.variables.RANK === text(variables, 'RANK')) return;
  throw new TrainyardError('USAGE', {
    what: 'Two launchers say different things of this process.',
    expected: 'RANK and WORLD_SIZE unset, or as the scheduler has them',
    got: `RANK=${text(variables, 'RANK') ?? ''}, and rank ${place.variables.RANK} by ${place.source} and its companions`,
    cure: 'unset RANK and WORLD_SIZE',
  });
}

/** A world of one, for commands that need no launcher. */
export function singleRank(): RankEnvironment {
  return {
    rank: 0,
    worldSize: 1,
    localRank: 0,
    localWorldSize: 1,
    hostName: 'single',
    masterAddress: LOOPBACK,
    masterPort: 0,
    runId: 'single',
    storeIsHosted: false,
    networkInterface: 'lo',
    errorFile: undefined,
    source: 'single',
  };
}

const LOOPBACK = '127.0.0.1';
const LARGEST_PORT = 65_535;

function meetingAddress(variables: Variables): string {
  const address = text(variables, 'MASTER_ADDR');
  if (address !== undefined) return address;
  throw missing('MASTER_ADDR', 'WORLD_SIZE', variables, 'the host of rank 0, 127.0.0.1 on one machine');
}

/** Port 0 lets a world of one choose freely. */
function meetingPort(variables: Variables, worldSize: number): number {
  const port = integer(variables, 'MASTER_PORT');
  if (port === undefined) {
    if (worldSize === 1) return 0;
    throw missing('MASTER_PORT', 'WORLD_SIZE', variables, 'a free port, the same one for every rank');
  }
  if (port > LARGEST_PORT) throw malformed('MASTER_PORT', String(port), `a port up to ${LARGEST_PORT}`);
  return port;
}

function localPlace(
  variables: Variables,
  rank: number,
  worldSize: number,
  isLocal: boolean,
): Pick<RankEnvironment, 'localRank' | 'localWorldSize'> {
  const sizeName = localSizeName(variables);
  const localWorldSize = integer(variables, sizeName) ?? (isLocal ? worldSize : 1);
  const localRank = integer(variables, 'LOCAL_RANK') ?? (isLocal ? rank : undefined);
  if (localRank === undefined) {
    throw missing('LOCAL_RANK', 'MASTER_ADDR', variables, "this rank's number on its own host");
  }
  if (localRank >= localWorldSize) {
    throw conflict(variables, 'LOCAL_RANK', sizeName, 'a local rank below the number of ranks on this host');
  }
  if (localWorldSize > worldSize) {
    throw conflict(variables, sizeName, 'WORLD_SIZE', 'no more ranks on one host than in the world');
  }
  return { localRank, localWorldSize };
}

/**
 * torchrun numbers its hosts, as does DeepSpeed's launcher; where nobody does, the ranks of a host follow one another,
 * and the first tells them from others.
 */
function hostName(variables: Variables, firstRank: number): string {
  const number = text(variables, 'GROUP_RANK') ?? text(variables, 'CROSS_RANK');
  return number === undefined ? `the host of rank ${firstRank}` : `host ${number}`;
}

/** torchrun says LOCAL_WORLD_SIZE, DeepSpeed's launcher LOCAL_SIZE. */
function localSizeName(variables: Variables): 'LOCAL_WORLD_SIZE' | 'LOCAL_SIZE' {
  const [torchrun, deepSpeed] = [text(variables, 'LOCAL_WORLD_SIZE'), text(variables, 'LOCAL_SIZE')];
  if (torchrun !== undefined && deepSpeed !== undefined && torchrun !== deepSpeed) {
    throw conflict(variables, 'LOCAL_WORLD_SIZE', 'LOCAL_SIZE', 'one number of ranks on this host');
  }
  return torchrun === undefined && deepSpeed !== undefined ? 'LOCAL_SIZE' : 'LOCAL_WORLD_SIZE';
}

function runId(variables: Variables): string {
  const run = text(variables, RUN_ID_VARIABLE) ?? text(variables, 'TORCHELASTIC_RUN_ID') ?? 'run';
  return `${run}/${text(variables, 'TORCHELASTIC_RESTART_COUNT') ?? '0'}`;
}

function requiredInteger(variables: Variables, name: string, companion: string): number {
  const value = integer(variables, name);
  if (value === undefined) throw missing(name, companion, variables, 'both, or neither');
  return value;
}

function missing(name: string, because: string, variables: Variables, expected: string): TrainyardError {
  return new TrainyardError('USAGE', {
    what: `The environment variable ${name} is not set, but ${because}=${variables[because] ?? ''} is.`,
    expected,
    cure: `set ${name}, or unset RANK and WORLD_SIZE and let --ranks start the ranks`,
  });
}

function conflict(variables: Variables, left: string, right: string, expected: string): TrainyardError {
  return new TrainyardError('USAGE', {
    what: 'Two environment variables contradict each other.',
    expected,
    got: `${left}=${variables[left] ?? ''} and ${right}=${variables[right] ?? ''}`,
  });
}
