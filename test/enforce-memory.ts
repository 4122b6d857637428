import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** How the memory of this process is bounded. */
export interface MemoryBound {
  readonly by: 'cgroup' | 'RLIMIT_DATA' | 'nothing';
  readonly explanation: string;
}

const KIBIBYTE = 1024;

/**
 * Has the system refuse this process more memory than a limit, in the strictest way that is there. A control group
 * counts everything, the page cache too; one that the process is in already is taken as it is, for its tree belongs
 * to whoever started the process (`systemd-run --scope -p MemoryMax=6G -p MemorySwapMax=0 node …` makes one). Else
 * RLIMIT_DATA, through `prlimit`: what the process may map for itself to write into, touched or not, beside the files
 * that are mapped now. RLIMIT_RSS does nothing on Linux, and RLIMIT_AS counts addresses that V8 only reserves.
 */
export function enforceMemory(limitBytes: number): MemoryBound {
  const group = ownGroup();
  if (group !== undefined && group.bytes <= limitBytes) {
    return {
      by: 'cgroup',
      explanation: `the control group ${group.path} allows ${group.bytes} bytes, no swap`,
    };
  }
  const files = residentFiles();
  if (files === undefined) return { by: 'nothing', explanation: 'measured alone: there is no /proc here' };
  const data = limitBytes - files;
  const { status, stderr, error } = spawnSync(
    'prlimit',
    ['--pid', `${process.pid}`, `--data=${data}:${data}`],
    { encoding: 'utf8' },
  );
  if (status !== 0) {
    return {
      by: 'nothing',
      explanation: `measured alone: prlimit failed: ${error?.message ?? stderr.trim()}`,
    };
  }
  return {
    by: 'RLIMIT_DATA',
    explanation: `RLIMIT_DATA is ${data} bytes, beside ${files} of mapped files; no control group is as strict`,
  };
}

/** The memory group that this process is in, where it has a limit and no swap. */
function ownGroup(): { readonly path: string; readonly bytes: number } | undefined {
  for (const line of textOf('/proc/self/cgroup')?.split('\n') ?? []) {
    const [, controllers = '', path = ''] = line.split(':');
    const version = controllers === '' ? 2 : controllers.split(',').includes('memory') ? 1 : undefined;
    if (version === undefined) continue;
    const folder = join(version === 2 ? '/sys/fs/cgroup' : '/sys/fs/cgroup/memory', path);
    const bytes = numberIn(folder, version === 2 ? 'memory.max' : 'memory.limit_in_bytes');
    // Version 1 counts memory and swap together.
    const swap =
      version === 2
        ? numberIn(folder, 'memory.swap.max')
        : (numberIn(folder, 'memory.memsw.limit_in_bytes') ?? Number.NaN) - (bytes ?? 0);
    if (bytes !== undefined && swap === 0) return { path, bytes };
  }
  return undefined;
}

/** Bytes of mapped files, the code of libraries above all, that are in memory now. */
function residentFiles(): number | undefined {
  const kibibytes = /^RssFile:\s+(\d+) kB$/m.exec(textOf('/proc/self/status') ?? '')?.[1];
  return kibibytes === undefined ? undefined : Number(kibibytes) * KIBIBYTE;
}

/** Undefined too where it says "max". */
function numberIn(folder: string, name: string): number | undefined {
  const value = Number(textOf(join(folder, name))?.trim() ?? Number.NaN);
  return Number.isNaN(value) ? undefined : value;
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
