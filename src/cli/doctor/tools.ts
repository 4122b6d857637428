import { spawnSync } from 'node:child_process';
import type { Finding } from './finding.js';

/** A program that the set-up needs; training does not. */
interface Tool {
  readonly name: string;
  /** Tried in order. */
  readonly commands: readonly (readonly [string, ...string[]])[];
  readonly cure: string;
}

const TOOLS: readonly Tool[] = [
  {
    name: 'C++ compiler',
    commands: [
      ['c++', '--version'],
      ['g++', '--version'],
      ['clang++', '--version'],
    ],
    cure: 'Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++',
  },
  {
    name: 'CMake',
    commands: [['cmake', '--version']],
    cure: 'Debian, Ubuntu: apt install cmake; anywhere: pip install cmake',
  },
  {
    name: 'build tool',
    commands: [
      ['ninja', '--version'],
      ['make', '--version'],
    ],
    cure: 'Debian, Ubuntu: apt install ninja-build',
  },
  {
    name: 'Python',
    commands: [
      ['python3', '--version'],
      ['python', '--version'],
    ],
    cure: 'only the set-up asks for it, to fetch libtorch: apt install python3, or set TRAINYARD_LIBTORCH',
  },
  {
    name: 'pip',
    commands: [
      ['python3', '-m', 'pip', '--version'],
      ['pip3', '--version'],
      ['pip', '--version'],
    ],
    cure: 'only the set-up asks for it, to fetch libtorch: apt install python3-pip, or set TRAINYARD_LIBTORCH',
  },
];

/** Whether a fresh set-up would find what it needs. Missing tools matter only to it. */
export function checkTools(): readonly Finding[] {
  return TOOLS.map(({ name, commands, cure }) => {
    const found = commands.map(firstLine).find((line) => line !== undefined);
    return found === undefined
      ? { name, status: 'warning', found: 'not on the PATH', cure }
      : { name, status: 'ok', found };
  });
}

function firstLine([program, ...parameters]: readonly [string, ...string[]]): string | undefined {
  const { status, stdout } = spawnSync(program, parameters, { encoding: 'utf8', timeout: 10_000 });
  if (status !== 0) return undefined;
  const [line = ''] = stdout.split('\n');
  return ['ninja', 'make'].includes(program) && !line.includes(' ') ? `${program} ${line}` : line;
}
