import { mkdirSync, statfsSync } from 'node:fs';
import { SetupFailure } from './failure.mjs';
import { blamesDisk, blamesNetwork, capture, findOnPath, lastLines, runStep } from './tools.mjs';

/**
 * The wheel is made for one Python and used by none, so any pip can fetch it: these say which wheel is meant.
 */
const WHEEL_OPTIONS = ['--only-binary=:all:', '--python-version', '3.11', '--implementation', 'cp'];

const CURE_BY_HAND = 'or set TRAINYARD_LIBTORCH to a libtorch of your own';

/**
 * Installs requirements into a folder. Indexes, proxies and certificates are those of the person's own pip
 * configuration.
 *
 * @param {readonly string[]} requirements
 * @param {string} target
 * @param {{ dependencies: boolean }} options
 */
export async function pipInstall(requirements, target, { dependencies }) {
  const [command, ...first] = findPip();
  const options = ['--target', target, ...WHEEL_OPTIONS, '--no-compile', '--disable-pip-version-check'];
  const args = [...first, 'install', ...(dependencies ? [] : ['--no-deps']), ...options, ...requirements];
  const env = { ...process.env, PIP_ROOT_USER_ACTION: 'ignore' };
  const { status, output } = await runStep(command, args, { env, show: process.stderr.isTTY });
  if (status !== 0) throw pipFailure(output, requirements, target);
}

/** The command that runs pip: the module of a Python, or the script. @returns {[string, ...string[]]} */
function findPip() {
  /** @type {readonly [string, ...string[]][]} */
  const candidates = [['python3', '-m', 'pip'], ['python', '-m', 'pip'], ['pip3'], ['pip']];
  for (const [name, ...args] of candidates) {
    const path = findOnPath(name);
    if (path !== undefined && capture(path, [...args, '--version']).status === 0) return [path, ...args];
  }
  throw new SetupFailure({
    what: 'libtorch is not here, and there is no pip to fetch it with.',
    expected: 'python3 with pip, python with pip, pip3 or pip on the PATH',
    cure: `install pip (Debian and Ubuntu: apt install python3-pip), ${CURE_BY_HAND}`,
  });
}

/**
 * Refuses to start a fetch that would fill the disk.
 * @param {string} folder
 * @param {number} gigabytes
 */
export function requireSpace(folder, gigabytes) {
  mkdirSync(folder, { recursive: true });
  const { bavail, bsize } = statfsSync(folder);
  const free = (bavail * bsize) / 1e9;
  if (free >= gigabytes) return;
  throw new SetupFailure({
    what: 'There is not enough disk space for libtorch.',
    where: folder,
    expected: `${gigabytes} GB free`,
    got: `${free.toFixed(1)} GB free`,
    cure: `free some space, ${CURE_BY_HAND}`,
  });
}

/**
 * @param {string} output
 * @param {readonly string[]} requirements
 * @param {string} target
 */
function pipFailure(output, requirements, target) {
  const where = `pip install ${requirements.join(' ')}`;
  if (blamesDisk(output)) {
    return new SetupFailure({
      what: 'The disk is full: libtorch could not be unpacked.',
      where: target,
      cure: 'free about 3 GB there (and as much where TMPDIR points), and run the command again',
    });
  }
  if (blamesNetwork(output)) {
    return new SetupFailure({
      what: 'The package index could not be reached, so libtorch was not fetched.',
      where,
      got: lastLines(output, 2),
      cure: `check the network or the proxy and index of your pip configuration (pip config list), ${CURE_BY_HAND}`,
    });
  }
  if (/No matching distribution|Could not find a version/.test(output)) {
    return new SetupFailure({
      what: 'The package index has no such wheel for this machine.',
      where,
      got: lastLines(output, 2),
      cure: `set TRAINYARD_TORCH_VERSION to one that it has, upgrade an old pip, ${CURE_BY_HAND}`,
    });
  }
  return new SetupFailure({
    what: 'pip could not fetch libtorch.',
    where,
    got: lastLines(output, 4),
    cure: `run that pip command to see its whole output, ${CURE_BY_HAND}`,
  });
}
