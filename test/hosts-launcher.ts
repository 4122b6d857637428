import { fileURLToPath } from 'node:url';
import type { Host } from '../src/launch/hostfile.js';
import { type HostsOptions, superviseHosts } from '../src/launch/hosts/supervise-hosts.js';
import type { RunObserver } from '../src/launch/supervisor.js';
import type { Verdict } from '../src/launch/verdict.js';

/** Runs `launch-rank-program.js` on hosts, each of so many ranks. */
export function superviseTestHosts(
  hosts: Readonly<Record<string, number>>,
  words: readonly string[],
  observer: RunObserver,
  others: Partial<HostsOptions> = {},
): Promise<Verdict> {
  return superviseHosts({
    hosts: Object.entries(hosts).map(([name, ranks]) => testHost(name, ranks)),
    agent: [process.execPath, fileURLToPath(new URL('./hosts-agent-program.js', import.meta.url))],
    arguments: words,
    folder: process.cwd(),
    variables: process.env,
    version: '1.0.0',
    meeting: { allowPublic: false },
    connected: () => undefined,
    observer,
    ...others,
  });
}

function testHost(name: string, ranks: number): Host {
  return { name, slots: Array.from({ length: ranks }, (_, slot) => slot), capacity: ranks };
}
