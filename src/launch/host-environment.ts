import { TrainyardError } from '../base/errors.js';
import type { HostPlace } from './rank-variables.js';
import type { Variables } from './variables.js';
import { malformed, text } from './variables.js';

/** The part of a run that this host's supervisor is to start. */
export interface HostPart {
  readonly ranks: number;
  readonly place: HostPlace;
}

/** The variables of a host that is one of several, each with a supervisor of its own, as in the manifests of `launch`. */
export const HOST_VARIABLES = {
  hosts: 'TRAINYARD_HOSTS',
  ranksPerHost: 'TRAINYARD_RANKS_PER_HOST',
  host: 'TRAINYARD_HOST',
  attempt: 'TRAINYARD_ATTEMPT',
} as const;

/** Set by Kubernetes in every pod of an indexed job. */
const COMPLETION_INDEX = 'JOB_COMPLETION_INDEX';
const SHORTEST_RUN_ID = 16;

/**
 * Reads which host of how many this is: TRAINYARD_HOSTS and TRAINYARD_RANKS_PER_HOST, the number from TRAINYARD_HOST or
 * Kubernetes' JOB_COMPLETION_INDEX, the meeting place from MASTER_ADDR and MASTER_PORT, and the run's secret. Undefined
 * without TRAINYARD_HOSTS, so that a pod's number alone makes no rank of it.
 *
 * @param requestedRanks what `--ranks` asked for, which must not contradict the variables
 * @throws TrainyardError USAGE when a variable is missing, malformed or contradicts another one
 */
export function hostEnvironment(variables: Variables, requestedRanks?: number): HostPart | undefined {
  const { hosts: hostsName, ranksPerHost: ranksName, host: hostName, attempt } = HOST_VARIABLES;
  if (text(variables, hostsName) === undefined) return undefined;
  const hosts = integer(variables, hostsName);
  const ranks = integer(variables, ranksName);
  const host = integer(variables, text(variables, hostName) === undefined ? COMPLETION_INDEX : hostName);
  const worldSize = hosts * ranks;
  if (ranks === 0 || host >= hosts) {
    throw new TrainyardError('USAGE', {
      what: 'The environment variables of this host contradict each other.',
      expected: `a host below ${hostsName}, with at least one rank`,
      got: `host ${host} of ${hosts}, ${ranks} ranks on each`,
    });
  }
  if (requestedRanks !== undefined && requestedRanks !== worldSize) {
    throw new TrainyardError('USAGE', {
      what: `--ranks ${requestedRanks} contradicts ${hostsName}=${hosts} and ${ranksName}=${ranks}.`,
      cure: `leave --ranks out, or unset ${hostsName}`,
    });
  }
  return {
    ranks,
    place: {
      host,
      firstRank: host * ranks,
      worldSize,
      masterAddress: required(variables, 'MASTER_ADDR', 'the address of host 0'),
      masterPort: portOf(variables),
      runId: `${secretOf(variables)}-${text(variables, attempt) ?? '0'}`,
      networkInterface: text(variables, 'GLOO_SOCKET_IFNAME') ?? '',
    },
  };
}

function secretOf(variables: Variables): string {
  const secret = required(variables, 'TRAINYARD_RUN_ID', 'the secret of the run, the same on every host');
  if (secret.length >= SHORTEST_RUN_ID) return secret;
  throw new TrainyardError('USAGE', {
    what: 'The environment variable TRAINYARD_RUN_ID is too short to be a secret.',
    expected: `at least ${SHORTEST_RUN_ID} characters, such as the output of \`openssl rand -hex 16\``,
    got: `${secret.length} characters`,
  });
}

function portOf(variables: Variables): number {
  const port = integer(variables, 'MASTER_PORT');
  if (port >= 1 && port <= 65_535) return port;
  throw malformed('MASTER_PORT', String(port), 'a port from 1 to 65535');
}

function required(variables: Variables, name: string, expected: string): string {
  const value = text(variables, name);
  if (value !== undefined) return value;
  throw new TrainyardError('USAGE', {
    what: `The environment variable ${name} is not set, but ${HOST_VARIABLES.hosts} is.`,
    expected,
    cure: `set it, or unset ${HOST_VARIABLES.hosts} to run on this host alone`,
  });
}

function integer(variables: Variables, name: string): number {
  const value = required(variables, name, 'a whole number');
  if (!/^\d{1,6}$/.test(value)) throw malformed(name, value, 'a whole number');
  return Number(value);
}
