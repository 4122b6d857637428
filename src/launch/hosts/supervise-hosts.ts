import { randomBytes } from 'node:crypto';
import { TrainyardError } from '../../base/errors.js';
import { quote } from '../../base/printable.js';
import type { Host } from '../hostfile.js';
import { type WatchOptions, watchRanks } from '../supervisor.js';
import type { Variables } from '../variables.js';
import type { Verdict } from '../verdict.js';
import { HostConnection, type HostReady } from './connection.js';
import { chooseMasterAddress } from './master-address.js';

/** A command that the ranks of several hosts run. */
export interface HostsOptions extends WatchOptions {
  /** In the order of their ranks. */
  readonly hosts: readonly Host[];
  /** The words that start an agent on each: the same for every run. */
  readonly agent: readonly string[];
  /** What the agents' program is called with for each rank. */
  readonly arguments: readonly string[];
  /** The working folder, which all hosts have. */
  readonly folder: string;
  /** Of this process; those that concern a run are handed on. */
  readonly variables: Variables;
  readonly version: string;
  readonly meeting: MeetingPlace;
  /** The hosts have answered; the ranks start now. */
  connected(summary: string): void;
}

/** Where ranks are to meet; left out, the first host says. */
export interface MeetingPlace {
  readonly address?: string | undefined;
  readonly port?: number | undefined;
  readonly allowPublic: boolean;
}

/**
 * Runs the ranks of several hosts until all have ended, and says how it went. No rank is started before every host has
 * answered, and none outlives this process by more than its host needs to notice.
 *
 * @throws TrainyardError HOST_UNREACHABLE, HOST_UNFIT, USAGE before any rank is started
 */
export async function superviseHosts(options: HostsOptions): Promise<Verdict> {
  demandPlainWords(options.agent);
  const connections = options.hosts.map(
    ({ name, slots }) => new HostConnection(name, slots.length, options.agent),
  );
  try {
    const [first, ...others] = await Promise.all(connections.map(({ ready }) => ready));
    if (first === undefined) throw new TrainyardError('USAGE', { what: 'There is no host.' });
    demandSameVersion(options, [first, ...others]);
    const masterAddress = await chooseMasterAddress({
      hosts: options.hosts.map(({ name }) => name),
      addresses: first.addresses,
      wanted: options.meeting.address,
      allowPublic: options.meeting.allowPublic,
    });
    const masterPort = options.meeting.port ?? first.port;
    options.connected(summaryOf(options.hosts, `${masterAddress}:${masterPort}`));
    return await watchHosts(options, connections, { masterAddress, masterPort });
  } finally {
    await Promise.all(connections.map((connection) => connection.close()));
  }
}

function watchHosts(
  options: HostsOptions,
  connections: readonly HostConnection[],
  meeting: { readonly masterAddress: string; readonly masterPort: number },
): Promise<Verdict> {
  const runId = randomBytes(16).toString('hex');
  const worldSize = options.hosts.reduce((sum, { slots }) => sum + slots.length, 0);
  let firstRank = 0;
  const starts = connections.flatMap((connection, host) => {
    const place = { ...meeting, host, firstRank, worldSize, runId };
    const ranks = connection.ranks.map((remote, localRank) => ({
      name: { rank: place.firstRank + localRank, host: connection.name },
      start: (listener: Parameters<typeof remote.attach>[1]) =>
        remote.attach(place.firstRank + localRank, listener),
    }));
    firstRank += ranks.length;
    return { ranks, order: { place, ranks: ranks.length, host: options.hosts[host] } };
  });
  const watched = watchRanks(
    starts.flatMap(({ ranks }) => ranks),
    worldSize,
    options,
  );
  // What the hosts answer is heard after this, when every rank has its listener.
  for (const [index, { order }] of starts.entries()) {
    connections[index]?.start({
      arguments: [...options.arguments],
      folder: options.folder,
      variables: { ...handedOn(options.variables), ...visibleDevices(order.host) },
      ranks: order.ranks,
      place: order.place,
    });
  }
  return watched;
}

/** Settings of libraries that a run depends on; a host keeps its own PATH and all else. */
const HANDED_ON = ['TRAINYARD_', 'OMP_', 'MKL_', 'NCCL_', 'GLOO_', 'UCX_', 'TORCH_'] as const;

function handedOn(variables: Variables): Record<string, string> {
  const chosen = Object.entries(variables).flatMap(([name, value]) =>
    value !== undefined && HANDED_ON.some((prefix) => name.startsWith(prefix))
      ? [[name, value] as const]
      : [],
  );
  return Object.fromEntries(chosen);
}

/** Some of a host's slots are those GPUs. */
function visibleDevices(host: Host | undefined): Record<string, string> {
  if (host === undefined || host.slots.length === host.capacity) return {};
  return { CUDA_VISIBLE_DEVICES: host.slots.join(',') };
}

/** ssh joins its words by spaces, and a shell over there reads them: nothing in them may mean anything to it. */
function demandPlainWords(words: readonly string[]): void {
  const word = words.find((candidate) => !/^[A-Za-z0-9_@%+=:,./-]+$/.test(candidate));
  if (word === undefined) return;
  throw new TrainyardError('USAGE', {
    what: 'Other hosts cannot be told where Trainyard is.',
    expected: 'a path of letters, digits and _ @ % + = : , . / -',
    got: quote(word),
    cure: 'put it at another path',
  });
}

function demandSameVersion({ hosts, version }: HostsOptions, ready: readonly HostReady[]): void {
  const other = ready.findIndex((word) => word.version !== version);
  if (other < 0) return;
  throw new TrainyardError('HOST_UNFIT', {
    what: `The host ${hosts[other]?.name} has another version of Trainyard.`,
    expected: version,
    got: ready[other]?.version ?? '',
    cure: 'install the same version on every host',
  });
}

function summaryOf(hosts: readonly Host[], meeting: string): string {
  const names = hosts.map(({ name, slots }) => `${name} (${slots.length})`).join(', ');
  return `ranks on ${hosts.length} host${hosts.length === 1 ? '' : 's'}: ${names}; they meet at ${meeting}`;
}
