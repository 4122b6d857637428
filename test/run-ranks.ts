import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { freePort } from '../src/launch/free-port.js';

/**
 * Runs `node PROGRAM RANK WORLD PORT ...args` once for each rank of a world, side by side; every rank must end
 * well.
 *
 * @returns what each rank wrote on standard output
 */
export async function rankOutputs(
  program: string,
  ranks: number,
  args: readonly string[] = [],
): Promise<readonly string[]> {
  const port = await freePort('127.0.0.1');
  return Promise.all(
    Array.from({ length: ranks }, async (_, rank) => {
      const all = [join(import.meta.dirname, program), String(rank), String(ranks), String(port), ...args];
      // Tiny kernels on several threads spend their time waiting for each other.
      const env = { ...process.env, OMP_NUM_THREADS: '1' };
      const child = spawn(process.execPath, ['--enable-source-maps', ...all], {
        env,
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      const [output, errors] = await Promise.all([
        text(child.stdout),
        text(child.stderr),
        once(child, 'close'),
      ]);
      assert.equal(child.exitCode, 0, `rank ${rank} of ${ranks}: ${output}\n${errors}`);
      return output;
    }),
  );
}

/** As `rankOutputs`, where each rank writes one JSON. */
export async function runRanks<Result>(
  program: string,
  ranks: number,
  args: readonly string[],
): Promise<readonly Result[]> {
  const outputs = await rankOutputs(program, ranks, args);
  return outputs.map((output) => JSON.parse(output) as Result);
}
