import { readdirSync, readFileSync, statfsSync } from 'node:fs';
import { cpus, freemem, totalmem } from 'node:os';
import { usableCores } from '../../launch/threads.js';
import { formatBytes } from '../format.js';
import type { Finding } from './finding.js';

const OLDEST_NODE = [20, 19] as const;

export function checkNode(version = process.versions.node): Finding {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const isOld = major < OLDEST_NODE[0] || (major === OLDEST_NODE[0] && minor < OLDEST_NODE[1]);
  const found = `${version} (${process.platform} ${process.arch})`;
  if (!isOld) return { name: 'Node', status: 'ok', found };
  return { name: 'Node', status: 'missing', found, cure: `install Node ${OLDEST_NODE.join('.')} or newer` };
}

export function checkProcessor(): Finding {
  const cores = usableCores();
  const model = cpus()[0]?.model.trim() ?? 'unknown processor';
  return {
    name: 'processor',
    status: 'ok',
    found: `${cores} usable core${cores === 1 ? '' : 's'}, ${model}`,
  };
}

/** Widest first; a name stands for all that come with it. */
const VECTOR_SETS = ['amx_tile', 'avx512_bf16', 'avx512f', 'avx2', 'avx', 'sve', 'asimd'] as const;

/** libtorch is fast with 256-bit vectors or wider. */
export function checkVectors(processorInfo = readIfThere('/proc/cpuinfo')): Finding {
  const flags = new Set(/^(?:flags|Features)\s*:\s*(.*)$/m.exec(processorInfo)?.[1]?.split(' ') ?? []);
  const present = VECTOR_SETS.filter((name) => flags.has(name));
  const found = present.length === 0 ? 'no vector instructions that are known here' : present.join(', ');
  const isFast = present.some((name) => name !== 'avx');
  if (isFast) return { name: 'vectors', status: 'ok', found };
  return {
    name: 'vectors',
    status: 'warning',
    found,
    cure: 'matrix products will be slow; use a newer processor',
  };
}

/** A tiny model, libtorch and two ranks fit into this. */
const SMALL_MEMORY = 2 * 1024 ** 3;

export function checkMemory(total = totalmem(), free = freemem()): Finding {
  const found = `${formatBytes(total)}, ${formatBytes(free)} free`;
  if (total >= SMALL_MEMORY) return { name: 'memory', status: 'ok', found };
  return {
    name: 'memory',
    status: 'warning',
    found,
    cure: 'train tiny models only, or find more than 2 GiB',
  };
}

/** Docker's default of 64 MiB is too little for the gradients that the ranks of a host share. */
const SMALL_SHARED_MEMORY = 256 * 1024 ** 2;

export function checkSharedMemory(): Finding {
  const name = '/dev/shm';
  try {
    const { bsize, blocks, bavail } = statfsSync('/dev/shm');
    const found = `${formatBytes(bsize * blocks)}, ${formatBytes(bsize * bavail)} free`;
    if (bsize * blocks >= SMALL_SHARED_MEMORY) return { name, status: 'ok', found };
    return { name, status: 'warning', found, cure: 'start the container with --shm-size=2g' };
  } catch {
    return { name, status: 'warning', found: 'not there', cure: 'mount a tmpfs on /dev/shm' };
  }
}

/** The driver's own listing; whether libtorch can use what is there is another question. */
export function checkGraphicsProcessors(): Finding {
  const name = 'GPU';
  try {
    const folder = '/proc/driver/nvidia/gpus';
    const models = readdirSync(folder).map(
      (gpu) => /^Model:\s*(.*)$/m.exec(readIfThere(`${folder}/${gpu}/information`))?.[1] ?? gpu,
    );
    return { name, status: 'ok', found: models.join(', ') };
  } catch {
    return { name, status: 'ok', found: 'none: training runs on the processor' };
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
