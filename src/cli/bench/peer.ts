import { spawn } from 'node:child_process';
import { TrainyardError } from '../../base/errors.js';
import type { JsonOption } from '../program/option-values.js';

export interface BenchComparison extends JsonOption {
  readonly rounds: number;
}

/** What a peer printed: the JSON object of its last line. */
export type PeerResult = Readonly<Record<string, unknown>>;

/**
 * Runs another program that measures the same thing.
 *
 * @param command its words, as a shell would split them
 * @throws TrainyardError USAGE when it cannot be started, fails, or prints no JSON object last
 */
export async function runPeer(command: readonly string[]): Promise<PeerResult> {
  const [executable = '', ...args] = command;
  const { code, output } = await outputOf(executable, args);
  const line = output.trimEnd().split('\n').at(-1) ?? '';
  const result = code === 0 ? parseObject(line) : undefined;
  if (result !== undefined) return result;
  throw new TrainyardError('USAGE', {
    what: 'The program to compare with gave no result.',
    where: command.join(' '),
    expected: 'exit code 0 and a JSON object as the last line of its output',
    got: `exit code ${code}, ${line === '' ? 'no output' : JSON.stringify(line.slice(0, 100))}`,
  });
}

/** The middle of the values, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((left, right) => left - right);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] ?? Number.NaN) + (sorted[Math.floor(middle)] ?? Number.NaN)) / 2;
}

function outputOf(
  executable: string,
  args: readonly string[],
): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(executable, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    child.on('error', (cause) => {
      const report = {
        what: 'The program to compare with cannot be started.',
        where: executable,
        got: cause.message,
      };
      reject(new TrainyardError('USAGE', report, { cause }));
    });
    child.on('close', (code) => resolve({ code, output }));
  });
}

function parseObject(line: string): PeerResult | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? (value as PeerResult) : undefined;
  } catch {
    return undefined;
  }
}
