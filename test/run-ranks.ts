import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { freePort } from '../src/launch/free-port.js';

/**
 * Runs `node PROGRAM RANK WORLD PORT ...args` once for each rank of a world, side by side.
 *
 * @returns what each rank wrote on standard output, as JSON
 */
export async function runRanks<Result>(
  program: string,
  ranks: number,
  args: readonly string[],
): Promise<readonly Result[]> {
  const port = await freePort('127.0.0.1');
  return Promise.all(
    Array.from({ length: ranks }, async (_, rank) => {
      const all = [join(import.meta.dirname, program), String(rank), String(ranks), String(port), ...args];
      // Tiny kernels on several threads spend their time waiting for each other.
      const env = { ...process.env, OMP_NUM_THREADS: '1' };
      const child = spawn(process.execPath, all, { env, stdio: ['ignore', 'pipe', 'pipe'] });
      const [output, errors] = await Promise.all([text(child.stdout), text(child.stderr)]);
      assert.ok(output.startsWith('{'), errors);
      return JSON.parse(output) as Result;
    }),
  );
}
