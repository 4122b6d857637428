import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, relative } from 'node:path';
import { SetupFailure } from './failure.mjs';
import { inRoot, root } from './paths.mjs';
import { blamesDisk, blamesNetwork, findOnPath, lastLines, runStep, say } from './tools.mjs';

/** Installs the npm packages that package-lock.json names, unless node_modules already holds exactly those. */
export async function installPackages() {
  if (packagesAreInstalled()) return;
  const npm = findOnPath('npm');
  if (npm === undefined) {
    throw new SetupFailure({
      what: 'npm was not found.',
      expected: 'npm on the PATH',
      cure: 'install npm (it comes with Node) and run the command again',
    });
  }
  say('packages', 'npm ci');
  const options = ['--include=dev', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const { status, output } = await runStep(npm, ['ci', ...options], { cwd: root });
  if (status !== 0) throw packagesFailure(output);
}

/** Makes `npx trainyard` and scripts find the command in the clone itself, as they would in a dependent. */
export function linkCommand() {
  const link = inRoot('node_modules', '.bin', 'trainyard');
  if (existsSync(link)) return;
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync(relative(dirname(link), inRoot('bin', 'trainyard.js')), link);
}

/** Compares the lockfile with the record that npm keeps of what it installed. */
function packagesAreInstalled() {
  try {
    const wanted = readPackages(inRoot('package-lock.json'));
    const installed = readPackages(inRoot('node_modules', '.package-lock.json'));
    return Object.entries(wanted)
      .filter(([path, entry]) => path !== '' && entry.optional !== true)
      .every(([path, entry]) => installed[path]?.integrity === entry.integrity);
  } catch {
    return false;
  }
}

/**
 * @param {string} path
 * @returns {Record<string, { integrity?: string, optional?: boolean }>}
 */
function readPackages(path) {
  return JSON.parse(readFileSync(path, 'utf8')).packages;
}

/** @param {string} output */
function packagesFailure(output) {
  const where = `${root} (npm ci)`;
  if (blamesDisk(output)) {
    return new SetupFailure({
      what: 'The disk is full: the npm packages could not be written.',
      where,
      cure: 'free about 300 MB and run the command again',
    });
  }
  if (blamesNetwork(output)) {
    return new SetupFailure({
      what: 'The npm registry could not be reached.',
      where,
      got: lastLines(output, 2),
      cure: 'check the network, or set `registry` or `proxy` in your .npmrc, and run the command again',
    });
  }
  return new SetupFailure({
    what: 'npm could not install the packages.',
    where,
    got: lastLines(output, 6),
    cure: 'run `npm ci` to see the whole output',
  });
}
