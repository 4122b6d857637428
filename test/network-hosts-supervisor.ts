import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import type { HostsRun, RankEnding } from './network-hosts.js';
import {
  HOST_FOLDER,
  HOST_INTERFACE,
  HOST_NAMESPACES,
  HOST_SETTINGS,
  hostAddress,
  hostSetUp,
  limitOn,
  linksOf,
} from './network-layout.js';

/**
 * Builds a network of hosts, runs a program on the ranks of each and writes how they ended, as one JSON:
 * `unshare … node network-hosts-supervisor.js RUN`. It is the first process of its namespaces: when it ends, the kernel
 * ends whatever runs in them and takes the network away. It ends with its parent, whose end closes its input.
 */
process.stdin.on('close', () => process.exit(1)).resume();

const run = JSON.parse(process.argv[2] ?? '') as HostsRun;
const { network, ranksPerHost, program, args, cut } = run;

/** Each the process that keeps a host's namespaces. */
const hosts = await Promise.all(Array.from({ length: network.hosts }, openHost));
join();
let cutAtMs: number | undefined;
const endings = await Promise.all(hosts.flatMap((host, index) => startRanks(host, index).map(ending)));
process.stdout.write(JSON.stringify(endings satisfies readonly RankEnding[]), () => process.exit(0));

/** A host has a network and temporary files of its own, and its processes see no others: they share no memory with them. */
async function openHost(): Promise<number> {
  const keep = `mount -t tmpfs host ${HOST_FOLDER} && echo ready && read end`;
  const holder = spawn('unshare', [...HOST_NAMESPACES, 'sh', '-c', keep], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  await once(holder.stdout, 'data');
  assert(holder.pid !== undefined);
  return holder.pid;
}

function join(): void {
  if (network.joining === 'switch') command('ip', ['link', 'add', 'switch', 'type', 'bridge']);
  for (const [left, right] of linksOf(network)) {
    // By another name at first: both ends are made here.
    const ends = [`link add left type veth peer name right`];
    for (const [made, { name, at }] of [['left', left] as const, ['right', right] as const]) {
      ends.push(
        at === 'switch'
          ? `link set ${made} name ${name} master switch`
          : `link set ${made} netns ${hosts[at]} name ${name}`,
      );
    }
    command('ip', ['-batch', '-'], ends);
  }
  for (const [index, holder] of hosts.entries()) {
    onHost(holder, 'ip', ['-batch', '-'], hostSetUp(network, index));
    const settings = HOST_SETTINGS.map(([name, value]) => `echo '${value}' > /proc/sys/net/ipv4/${name}`);
    onHost(holder, 'sh', ['-c', settings.join(' && ')]);
  }
  for (const { name, at } of linksOf(network).flat()) {
    if (at === 'switch') command('ip', ['link', 'set', name, 'up']);
    if (network.megabitsPerSecond === undefined) continue;
    const limit = limitOn(name, network.megabitsPerSecond);
    if (at === 'switch') command('tc', limit);
    else onHost(holderOf(at), 'tc', limit);
  }
  if (network.joining === 'switch') command('ip', ['link', 'set', 'switch', 'up']);
}

function holderOf(host: number): number {
  const holder = hosts[host];
  assert(holder !== undefined);
  return holder;
}

function enter(holder: number): readonly string[] {
  return ['--target', String(holder), '--net', '--mount', `--pid=/proc/${holder}/ns/pid_for_children`, '--'];
}

function onHost(holder: number, name: string, given: readonly string[], input: readonly string[] = []): void {
  command('nsenter', [...enter(holder), name, ...given], input);
}

function command(name: string, given: readonly string[], input: readonly string[] = []): void {
  execFileSync(name, given, {
    input: input.map((line) => `${line}\n`).join(''),
    stdio: ['pipe', 'ignore', 'inherit'],
  });
}

/** With what torchrun says to the ranks of several hosts. */
function startRanks(holder: number, host: number): readonly ChildProcess[] {
  return Array.from({ length: ranksPerHost }, (_, localRank) => {
    const variables = {
      RANK: host * ranksPerHost + localRank,
      WORLD_SIZE: hosts.length * ranksPerHost,
      LOCAL_RANK: localRank,
      LOCAL_WORLD_SIZE: ranksPerHost,
      GROUP_RANK: host,
      MASTER_ADDR: hostAddress(0),
      MASTER_PORT: 29_500,
      GLOO_SOCKET_IFNAME: HOST_INTERFACE,
      OMP_NUM_THREADS: 1,
      TMPDIR: HOST_FOLDER,
    };
    const spoken = Object.entries(variables).map(([name, value]) => [name, String(value)]);
    return spawn('nsenter', [...enter(holder), process.execPath, '--enable-source-maps', program, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...Object.fromEntries(spoken) },
    });
  });
}

async function ending(child: ChildProcess): Promise<RankEnding> {
  assert(child.stdout !== null && child.stderr !== null);
  child.stdout.on('data', (said) => {
    if (cut !== undefined && cutAtMs === undefined && String(said).includes(cut.when)) cutLinks(cut.host);
  });
  const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  const secondsAfterCut = cutAtMs === undefined ? undefined : (performance.now() - cutAtMs) / 1000;
  return { status: child.exitCode, output, errors, secondsAfterCut };
}

function cutLinks(host: number): void {
  cutAtMs = performance.now();
  for (const { name, at } of linksOf(network).flat()) {
    if (at === host) onHost(holderOf(at), 'ip', ['link', 'set', name, 'down']);
  }
}
