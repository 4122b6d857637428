import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { env } from '../../base/env.js';
import type { Finding } from './finding.js';
import type { ProbeResult } from './libtorch-probe.js';

const LONGEST_PROBE_MS = 60_000;

/** Loads the add-on in a process of its own and tells what came of it. */
export function checkLibtorch(): readonly Finding[] {
  const probe = fileURLToPath(new URL('./libtorch-probe.js', import.meta.url));
  const { stdout, stderr, signal, status } = spawnSync(process.execPath, [probe], {
    encoding: 'utf8',
    timeout: LONGEST_PROBE_MS,
    env: { ...env.variables },
  });
  const result = parse(stdout);
  if (result === undefined) {
    const end = signal === null ? `exit code ${status}` : signal;
    const lastLine = stderr.trim().split('\n').at(-1) ?? '';
    return [broken(`loading it ended with ${end}: ${lastLine}`, 'run `npm run setup` again')];
  }
  if (!result.isLoaded) return [broken(result.what, result.cure)];
  const { version, path, threads, cudaDevices, files } = result;
  return [
    { name: 'add-on', status: 'ok', found: 'loads' },
    { name: 'libtorch', status: 'ok', found: `${version}, ${path}` },
    { name: 'threads', status: 'ok', found: `${threads} by default in one process` },
    { name: 'file I/O', status: 'ok', found: files },
    {
      name: 'CUDA',
      status: 'ok',
      found: cudaDevices === 0 ? 'no device for libtorch' : `${cudaDevices} for libtorch`,
    },
  ];
}

function broken(found: string, cure: string): Finding {
  return { name: 'add-on', status: 'missing', found, cure };
}

function parse(stdout: string): ProbeResult | undefined {
  try {
    return JSON.parse(stdout) as ProbeResult;
  } catch {
    return undefined;
  }
}
