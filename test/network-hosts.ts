import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { HOST_FOLDER, HOST_NAMESPACES, type NetworkSpec } from './network-layout.js';

/** A program on the ranks of several hosts, with what torchrun would tell it in its environment. */
export interface HostsRun {
  readonly network: NetworkSpec;
  readonly ranksPerHost: number;
  /** A file that Node.js runs. */
  readonly program: string;
  readonly args: readonly string[];
  /** Takes a host from the network as soon as any rank writes such a text. */
  readonly cut?: { readonly host: number; readonly when: string } | undefined;
}

export interface RankEnding {
  readonly status: number | null;
  readonly output: string;
  readonly errors: string;
  readonly secondsAfterCut?: number | undefined;
}

/** Around all hosts; whoever is not root may make namespaces where it is root. */
function outerNamespaces(): readonly string[] {
  return process.getuid?.() === 0 ? HOST_NAMESPACES : ['--user', '--map-root-user', ...HOST_NAMESPACES];
}

/** Everything that a network needs, once. */
const PROBE = [
  'ip link add left type veth peer name right',
  'ip link add switch type bridge',
  'tc qdisc add dev left root tbf rate 1mbit burst 8kb limit 1mb',
  `unshare ${HOST_NAMESPACES.join(' ')} mount -t tmpfs host ${HOST_FOLDER}`,
].join(' && ');

/**
 * Why no hosts can be made here; undefined where they can.
 *
 * @param wrapper a command that runs another one, to try with fewer rights
 */
export function namespacesRefusal(wrapper: readonly string[] = []): string | undefined {
  const [command = '', ...given] = [...wrapper, 'unshare', ...outerNamespaces(), 'sh', '-c', PROBE];
  const { status, error, stderr } = spawnSync(command, given, { encoding: 'utf8' });
  if (status === 0) return undefined;
  const reason = error?.message ?? (stderr.trim().split('\n')[0] || `exit code ${status}`);
  return `no network namespaces with limited links here: ${reason}`;
}

/** Runs a program on every rank of a network that is there for no longer than that. */
export async function runOnHosts(run: HostsRun): Promise<readonly RankEnding[]> {
  const supervisor = join(import.meta.dirname, 'network-hosts-supervisor.js');
  const inside = [process.execPath, '--enable-source-maps', supervisor, JSON.stringify(run)];
  // What it reads ends when this process does.
  const child = spawn('unshare', [...outerNamespaces(), ...inside], { stdio: ['pipe', 'pipe', 'pipe'] });
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  assert.equal(child.exitCode, 0, `the hosts could not be run: ${output}\n${errors}`);
  return JSON.parse(output) as readonly RankEnding[];
}

/** The same where each rank has to end well and writes one JSON. */
export async function resultsOnHosts<Result>(run: HostsRun): Promise<readonly Result[]> {
  return (await runOnHosts(run)).map(({ status, output, errors }, rank) => {
    assert.equal(status, 0, `rank ${rank}: ${output}\n${errors}`);
    return JSON.parse(output) as Result;
  });
}
