import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/**
 * The full path of a program, or undefined when PATH has none.
 * @param {string} name
 */
export function findOnPath(name) {
  const folders = (process.env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

/** @param {string} path */
function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * Runs a program to its end and returns what it printed. `status` is null when it could not be started.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnSyncOptions} [options]
 */
export function capture(command, args, options = {}) {
  const result = spawnSync(command, args, { encoding: 'utf8', maxBuffer: 64 << 20, ...options });
  return { status: result.status, stdout: String(result.stdout ?? ''), stderr: String(result.stderr ?? '') };
}

/**
 * Runs a long step: its standard output goes to our standard error as it comes when `show` is set, and both
 * streams are kept for the message of a failure.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, show?: boolean }} [options]
 * @returns {Promise<{ status: number | null, output: string }>}
 */
export function runStep(command, args, { cwd, env, show = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    /** @type {string[]} */
    const chunks = [];
    const keep = (/** @type {Buffer} */ chunk) => void chunks.push(chunk.toString('utf8'));
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    if (show) child.stdout.pipe(process.stderr, { end: false });
    child.on('error', (error) => resolve({ status: null, output: error.message }));
    child.on('close', (status) => resolve({ status, output: chunks.join('') }));
  });
}

/**
 * The last lines of a program's output, for the `got` field of a message.
 * @param {string} output
 * @param {number} count
 */
export function lastLines(output, count) {
  const lines = output.split(/\r?\n/).filter((line) => line.trim() !== '');
  return lines.slice(-count).join('\n            ');
}

/** Whether a program's output speaks of a network that is not there. @param {string} output */
export function blamesNetwork(output) {
  return /NewConnectionError|ConnectTimeout|ReadTimeout|ProxyError|SSLError|MaxRetryError|ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH/.test(
    output,
  );
}

/** Whether a program's output says that the disk is full. @param {string} output */
export function blamesDisk(output) {
  return /No space left on device|ENOSPC|Disk quota exceeded/.test(output);
}

/** One line of progress. @param {string} step @param {string} text */
export function say(step, text) {
  console.error(`${step.padEnd(12)}${text}`);
}
