import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { SetupFailure } from './failure.mjs';
import { pipInstall, requireSpace } from './pip.mjs';
import { capture, say } from './tools.mjs';

/**
 * torch as a wheel: the package folder holds libtorch and its headers, and Python is not needed to use it.
 * A CUDA wheel expects nvidia's wheels beside it, where its own run path looks for them.
 */

/** Written into the folder once every nvidia wheel is there, not only those the CPU half needs. */
const ALL_WHEELS = 'all-cuda-wheels';

/** @param {string} folder */
export const hasAllCudaWheels = (folder) => existsSync(join(folder, ALL_WHEELS));

/**
 * Fetches torch into `folder`, which appears only when it is complete.
 *
 * @param {string} version
 * @param {string} folder
 * @param {{ allWheels: boolean }} options whether the CUDA half will be used
 */
export async function fetchTorch(version, folder, { allWheels }) {
  requireSpace(dirname(folder), allWheels ? 10 : 3);
  say('libtorch', `fetching torch ${version} with pip (190 MB, or 550 MB where pip finds a CUDA build)`);
  const partial = `${folder}.partial`;
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  await pipInstall([`torch==${version}`], partial, { dependencies: false });
  if (existsSync(join(partial, 'torch', 'lib', 'libtorch_cuda.so'))) {
    await fetchCudaWheels(partial, { all: allWheels });
  }
  rmSync(folder, { recursive: true, force: true });
  renameSync(partial, folder);
}

/**
 * Puts nvidia's wheels beside the torch in `folder`: all that it asks for, or those that its CPU half cannot
 * be loaded without.
 *
 * @param {string} folder
 * @param {{ all: boolean }} options
 */
export async function fetchCudaWheels(folder, { all }) {
  const missing = missingLibraries(join(folder, 'torch', 'lib', 'libtorch_cpu.so'));
  const requirements = cudaRequirements(folder).flatMap((line) => (all ? [line] : narrow(line, missing)));
  if (requirements.length === 0) return;
  say('libtorch', `fetching ${all ? 'all CUDA wheels' : 'the CUDA wheels that the CPU half needs'}`);
  // A second `pip install --target` into one folder leaves existing packages alone, and all of these share
  // the package `nvidia`; so they get a folder of their own first.
  const partial = join(folder, 'nvidia.partial');
  rmSync(partial, { recursive: true, force: true });
  await pipInstall(requirements, partial, { dependencies: true });
  rmSync(join(folder, 'nvidia'), { recursive: true, force: true });
  renameSync(join(partial, 'nvidia'), join(folder, 'nvidia'));
  rmSync(partial, { recursive: true, force: true });
  requireLoadable(join(folder, 'torch', 'lib', all ? 'libtorch_cuda.so' : 'libtorch_cpu.so'));
  if (all) writeFileSync(join(folder, ALL_WHEELS), '');
}

/**
 * What the wheel's metadata requires of nvidia, such as `nvidia-nccl-cu13==2.30.7` or
 * `cuda-toolkit[cublas,cudart]==13.0.3`.
 *
 * @param {string} folder
 */
function cudaRequirements(folder) {
  const information = readdirSync(folder).find((name) => /^torch-.*\.dist-info$/.test(name)) ?? '';
  const metadata = readFileSync(join(folder, information, 'METADATA'), 'utf8');
  return [...metadata.matchAll(/^Requires-Dist: ((?:nvidia-|cuda-toolkit)[^;\n]*)/gm)].map(([, text = '']) =>
    text.trim(),
  );
}

/** The short name, in nvidia's wheels and in the extras of cuda-toolkit, of what carries a library. */
const CARRIERS = new Map([
  ['libcudart', { wheel: 'cuda-runtime', extra: 'cudart' }],
  ['libcupti', { wheel: 'cuda-cupti', extra: 'cupti' }],
  ['libnvrtc', { wheel: 'cuda-nvrtc', extra: 'nvrtc' }],
  ['libnvToolsExt', { wheel: 'nvtx', extra: 'nvtx' }],
]);

/**
 * The part of one requirement that brings any of the missing libraries.
 * @param {string} requirement
 * @param {readonly string[]} missing names such as libcudart.so.13
 */
function narrow(requirement, missing) {
  const carriers = [...CARRIERS].filter(([library]) =>
    missing.some((name) => name.startsWith(`${library}.`)),
  );
  const toolkit = /^cuda-toolkit\[[^\]]*\](.*)$/.exec(requirement);
  if (toolkit !== null) {
    const extras = carriers.map(([, { extra }]) => extra);
    return extras.length === 0 ? [] : [`cuda-toolkit[${extras.join(',')}]${toolkit[1]}`];
  }
  return carriers.some(([, { wheel }]) => requirement.startsWith(`nvidia-${wheel}`)) ? [requirement] : [];
}

/**
 * Shared libraries that the loader would not find for this one. The driver's own do not count: they come with
 * the driver and are wanted only by it.
 *
 * @param {string} library
 */
function missingLibraries(library) {
  const { stdout } = capture('ldd', [library]);
  const names = [...stdout.matchAll(/^\s*(\S+) => not found/gm)].map(([, name = '']) => name);
  return names.filter((name) => name !== 'libcuda.so.1');
}

/**
 * @param {string} library
 */
export function requireLoadable(library) {
  const missing = missingLibraries(library);
  if (missing.length === 0) return;
  throw new SetupFailure({
    what: 'This libtorch needs libraries that were not found.',
    where: library,
    got: `missing: ${missing.join(', ')}`,
    cure: 'install the nvidia-* wheels of this torch beside it, or set TRAINYARD_LIBTORCH to another libtorch',
  });
}
