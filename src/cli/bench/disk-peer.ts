import { spawnSync } from 'node:child_process';
import { env } from '../../base/env.js';
import { TrainyardError } from '../../base/errors.js';

/** Seconds that a pass over the whole file took. */
export interface DiskPasses {
  readonly write: number;
  readonly read: number;
}

/** Another program that reads and writes a file past the page cache. */
export interface DiskPeer {
  readonly name: 'fio' | 'dd';
  /** Writes all of the file, then reads it. */
  measure(file: string, bytes: number): DiskPasses;
}

const BLOCK_BYTES = 2 ** 20;
const DEPTH = 8;

/** fio with as many requests at once as we have, where it is installed; else dd, which has one. */
export function findDiskPeer(): DiskPeer {
  const hasFio = spawnSync('fio', ['--version']).status === 0;
  return hasFio ? { name: 'fio', measure: fio } : { name: 'dd', measure: dd };
}

function fio(file: string, bytes: number): DiskPasses {
  const pass = (rw: 'write' | 'read'): number => {
    const output = run('fio', [
      '--name=trainyard',
      `--filename=${file}`,
      `--size=${bytes}`,
      `--rw=${rw}`,
      `--bs=${BLOCK_BYTES}`,
      `--iodepth=${DEPTH}`,
      '--ioengine=libaio',
      '--direct=1',
      '--zero_buffers',
      '--output-format=json',
    ]);
    const section = new RegExp(`"${rw}"\\s*:\\s*{[^}]*?"bw_bytes"\\s*:\\s*(\\d+)`);
    return bytes / Number(section.exec(output)?.[1]);
  };
  return { write: pass('write'), read: pass('read') };
}

function dd(file: string, bytes: number): DiskPasses {
  const count = `count=${Math.ceil(bytes / BLOCK_BYTES)}`;
  const pass = (...words: readonly string[]): number => {
    const output = run('dd', [...words, `bs=${BLOCK_BYTES}`, count]);
    return Number(/, ([\d.e-]+) s,/.exec(output)?.[1]);
  };
  return {
    write: pass('if=/dev/zero', `of=${file}`, 'oflag=direct', 'conv=notrunc'),
    read: pass(`if=${file}`, 'of=/dev/null', 'iflag=direct'),
  };
}

function run(program: string, words: readonly string[]): string {
  const { status, stdout, stderr, error } = spawnSync(program, words, {
    encoding: 'utf8',
    env: { ...env.variables, LC_ALL: 'C' },
  });
  if (status === 0) return `${stdout}${stderr}`;
  throw new TrainyardError('USAGE', {
    what: 'The program to compare with failed.',
    where: [program, ...words].join(' '),
    got: error?.message ?? stderr.trim(),
  });
}
