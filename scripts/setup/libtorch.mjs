import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { SetupFailure } from './failure.mjs';
import { fetchCudaWheels, fetchTorch, hasAllCudaWheels } from './libtorch-wheels.mjs';
import { inRoot } from './paths.mjs';
import { capture, findOnPath } from './tools.mjs';

/**
 * A libtorch that the add-on can be compiled against.
 *
 * @typedef {object} Libtorch
 * @property {string} path holds include/ and lib/
 * @property {string} version such as "2.13.0"
 * @property {boolean} cuda whether its CUDA half is linked: it has one, and a GPU is here
 * @property {readonly string[]} runPath folders for the loader
 */

/** Versions whose headers the add-on is written for, as [major, minor]. */
const OLDEST = [2, 6];
const NEWEST = [2, 14];
const RANGE = `a version from ${OLDEST.join('.')} to ${NEWEST.join('.')}`;

/** The version that is fetched when nothing else is found. */
const DEFAULT_VERSION = '2.13.0';

/** Where fetched ones lie, each in a folder named after its version. */
const fetchedFolder = () => inRoot('build', 'libtorch');

/**
 * Finds libtorch, in this order: the folder that TRAINYARD_LIBTORCH names; one fetched before; the torch of
 * python3 on the PATH; else pip fetches it. TRAINYARD_TORCH_VERSION asks for exactly one version.
 *
 * @returns {Promise<Libtorch & { reason: string }>}
 */
export async function chooseLibtorch() {
  const named = process.env.TRAINYARD_LIBTORCH;
  if (named) return { ...describeNamed(resolve(named)), reason: 'TRAINYARD_LIBTORCH names it' };

  const asked = process.env.TRAINYARD_TORCH_VERSION || undefined;
  if (asked !== undefined && !isInRange(asked)) {
    throw outOfRange(asked, 'TRAINYARD_TORCH_VERSION', 'set a version in this range, or unset it');
  }
  const before = fetchedVersions(asked)
    .map((version) => describe(torchIn(version)))
    .find(Boolean);
  if (before !== undefined) {
    await completeCudaWheels(before);
    return { ...describeFetched(before.path), reason: 'fetched before' };
  }
  const installed = describe(torchOfPython());
  if (
    installed !== undefined &&
    (asked === undefined ? isInRange(installed.version) : installed.version === asked)
  ) {
    return { ...installed, reason: 'the torch of python3 on the PATH' };
  }
  const version = asked ?? DEFAULT_VERSION;
  await fetchTorch(version, join(fetchedFolder(), version), { allWheels: wantsCuda() });
  return { ...describeFetched(torchIn(version)), reason: 'fetched with pip, for none was found' };
}

/** @param {string} version */
const torchIn = (version) => join(fetchedFolder(), version, 'torch');

/**
 * The versions that were fetched before, the default one first.
 * @param {string | undefined} asked
 */
function fetchedVersions(asked) {
  if (asked !== undefined) return [asked];
  const others = existsSync(fetchedFolder()) ? readdirSync(fetchedFolder()).filter(isInRange) : [];
  return [
    DEFAULT_VERSION,
    ...others
      .filter((version) => version !== DEFAULT_VERSION)
      .sort()
      .reverse(),
  ];
}

/**
 * A CUDA build fetched where no GPU was has only the wheels its CPU half needs; a GPU asks for the rest.
 * @param {Libtorch} libtorch
 */
async function completeCudaWheels(libtorch) {
  const folder = dirname(libtorch.path);
  if (libtorch.cuda && !hasAllCudaWheels(folder)) await fetchCudaWheels(folder, { all: true });
}

/** Whether the CUDA half is wanted: a GPU is here, unless TRAINYARD_CUDA says 1 (yes) or 0 (no). */
function wantsCuda() {
  const said = process.env.TRAINYARD_CUDA;
  if (said === '0' || said === '1') return said === '1';
  return ['/proc/driver/nvidia/version', '/dev/nvidia0', '/dev/dxg'].some((path) => existsSync(path));
}

/**
 * What the folder holds, or undefined when it is not a complete libtorch.
 * @param {string | undefined} path
 * @returns {Libtorch | undefined}
 */
function describe(path) {
  if (path === undefined || !existsSync(join(path, 'lib', 'libtorch_cpu.so'))) return undefined;
  const version = versionOf(path);
  if (version === undefined) return undefined;
  const cuda = wantsCuda() && existsSync(join(path, 'lib', 'libtorch_cuda.so'));
  return { path, version, cuda, runPath: [join(path, 'lib'), ...wheelFolders(dirname(path))] };
}

/**
 * The version by the headers; the file moved within the supported range.
 * @param {string} path
 */
function versionOf(path) {
  const names = ['torch/headeronly/version.h', 'torch/csrc/api/include/torch/version.h'];
  const texts = names
    .map((name) => join(path, 'include', name))
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, 'utf8'));
  const part = (/** @type {string} */ name) =>
    texts.map((text) => new RegExp(`#define TORCH_VERSION_${name} (\\d+)`).exec(text)?.[1]).find(Boolean);
  const parts = ['MAJOR', 'MINOR', 'PATCH'].map(part);
  return parts.every((value) => value !== undefined) ? parts.join('.') : undefined;
}

/**
 * Library folders that lie beside a torch package: those of the nvidia wheels, and of what some torch wheels
 * carry for themselves.
 *
 * @param {string} packages
 */
function wheelFolders(packages) {
  const nvidia = join(packages, 'nvidia');
  const wheels = existsSync(nvidia) ? readdirSync(nvidia).map((name) => join(nvidia, name, 'lib')) : [];
  return [join(packages, 'torch.libs'), ...wheels].filter((folder) => existsSync(folder));
}

/** @param {string} named */
function describeNamed(named) {
  const found = describe(named) ?? describe(join(named, 'torch'));
  if (found === undefined) {
    throw incomplete(
      named,
      'set TRAINYARD_LIBTORCH to such a folder, or unset it: the set-up then finds one',
    );
  }
  if (!isInRange(found.version)) throw outOfRange(found.version, found.path, 'name another libtorch');
  return found;
}

/** @param {string} path */
function describeFetched(path) {
  const found = describe(path);
  if (found === undefined) throw incomplete(path, `delete ${dirname(path)} and run the command again`);
  return found;
}

/** The package folder of python3's torch, found without importing it: an import costs seconds. */
function torchOfPython() {
  const python = findOnPath('python3');
  if (python === undefined) return undefined;
  const script = 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])';
  const { status, stdout } = capture(python, ['-c', script], { timeout: 20_000 });
  return status === 0 ? stdout.trim() : undefined;
}

/** @param {string} version */
function isInRange(version) {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [oldestMajor = 0, oldestMinor = 0] = OLDEST;
  const [newestMajor = 0, newestMinor = 0] = NEWEST;
  const number = major * 1000 + minor;
  return number >= oldestMajor * 1000 + oldestMinor && number <= newestMajor * 1000 + newestMinor;
}

/** @param {string} version @param {string} where @param {string} cure */
function outOfRange(version, where, cure) {
  return new SetupFailure({
    what: 'This libtorch is not supported.',
    where,
    expected: RANGE,
    got: version,
    cure,
  });
}

/** @param {string} path @param {string} cure */
function incomplete(path, cure) {
  return new SetupFailure({
    what: 'This folder holds no complete libtorch.',
    where: path,
    expected: `a libtorch or a torch package folder: lib/libtorch_cpu.so and include/, ${RANGE}`,
    cure,
  });
}
