import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { printError } from '../src/cli/print-error.js';
import { createProgram } from '../src/cli/program.js';

/** How a command ended. */
export interface CommandResult {
  readonly exitCode: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a command as `main.ts` does, but in this process: hundreds of them in the time of a few processes. Only
 * for commands that are expected to fail.
 */
export async function failInProcess(args: readonly string[]): Promise<CommandResult> {
  try {
    await createProgram().parseAsync(['node', 'trainyard', ...args]);
  } catch (error) {
    const written: string[] = [];
    const write = process.stderr.write;
    process.stderr.write = (text: string | Uint8Array) => written.push(String(text)) > 0;
    try {
      return { exitCode: printError(error), stdout: '', stderr: written.join('') };
    } finally {
      process.stderr.write = write;
    }
  }
  return { exitCode: 0, stdout: '', stderr: '' };
}

/** Runs a command in a process of its own. */
export function run(args: readonly string[]): Promise<CommandResult> {
  const program = fileURLToPath(new URL('../../bin/trainyard.js', import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (text) => {
      stdout += text;
    });
    child.stderr.on('data', (text) => {
      stderr += text;
    });
    child.on('error', reject);
    child.on('close', (exitCode) => resolve({ exitCode, stdout, stderr }));
  });
}
