import { readFileSync } from 'node:fs';

/** How often the kernel has killed a process for memory, as far as this process may see. */
export type OutOfMemoryCount = number;

/** Reads the kernel's counters: of the whole machine and of this process's control group. */
export function outOfMemoryKills(): OutOfMemoryCount {
  return COUNTERS.reduce((sum, path) => sum + counter(path), 0);
}

const COUNTERS = ['/proc/vmstat', '/sys/fs/cgroup/memory.events'] as const;

function counter(path: string): number {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync(path, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
