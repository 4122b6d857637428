import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { join } from 'node:path';
import { SetupFailure } from './failure.mjs';
import { requireLoadable } from './libtorch-wheels.mjs';
import { inRoot } from './paths.mjs';
import { filesUnder, fingerprint, isStamped, stamp } from './stamp.mjs';
import { capture, findOnPath, lastLines, runStep, say } from './tools.mjs';

/** The oldest CMake that knows all that native/CMakeLists.txt uses. */
const CMAKE_MINIMUM = [3, 18];

/** What a compiler process over libtorch's headers needs at its peak. */
const BYTES_PER_COMPILER = 1.5e9;

/**
 * Compiles the add-on against a libtorch, unless it is compiled from exactly these sources and that libtorch.
 * @param {import('./libtorch.mjs').Libtorch} libtorch
 * @param {string} sanitizer such as "address": with the compiler's checks, into a folder of its own, for tests
 */
export async function compileAddon(libtorch, sanitizer = '') {
  const name = sanitizer === '' ? 'native' : `native-${sanitizer}`;
  const build = inRoot('build', name);
  const sources = filesUnder(inRoot('native'), (name) => /\.(cc|h|txt)$/.test(name));
  const { path, version, cuda, runPath } = libtorch;
  const print = fingerprint(sources, [inRoot(), path, version, String(cuda), runPath.join(';')]);
  if (existsSync(join(build, 'trainyard.node')) && isStamped(name, print)) return;

  const cmake = requireCmake();
  const compiler = requireCompiler();
  requireLoadable(join(path, 'lib', cuda ? 'libtorch_cuda.so' : 'libtorch_cpu.so'));
  const generator = findOnPath('ninja') ? 'Ninja' : 'Unix Makefiles';
  if (generator === 'Unix Makefiles' && !findOnPath('make')) throw noBuildTool();
  discardOtherGenerator(build, generator);
  mkdirSync(build, { recursive: true });

  say('native', `compiling the add-on with ${compiler} and ${generator}`);
  const settings = {
    CMAKE_CXX_COMPILER: compiler,
    TRAINYARD_LIBTORCH: path,
    TRAINYARD_RUN_PATH: runPath.join(';'),
    TRAINYARD_CUDA: cuda ? 'ON' : 'OFF',
    TRAINYARD_CXX11_ABI: stringAbiOf(path),
    TRAINYARD_SANITIZE: sanitizer,
  };
  const defines = Object.entries(settings).map(([name, value]) => `-D${name}=${value}`);
  await runCmake(cmake, ['-S', inRoot('native'), '-B', build, '-G', generator, ...defines], false);
  const jobs = Math.max(1, Math.min(availableParallelism(), Math.floor(totalmem() / BYTES_PER_COMPILER)));
  await runCmake(cmake, ['--build', build, '--parallel', String(jobs)], true);
  stamp(name, print);
}

/** @param {string} cmake @param {readonly string[]} args @param {boolean} show */
async function runCmake(cmake, args, show) {
  const { status, output } = await runStep(cmake, args, { show });
  if (status === 0) return;
  const errors = output.split('\n').filter((line) => /\berror\b|Error/.test(line));
  throw new SetupFailure({
    what: 'The add-on could not be compiled.',
    where: `cmake ${args.slice(0, 4).join(' ')}`,
    got: lastLines(errors.length > 0 ? errors.slice(0, 8).join('\n') : output, 8),
    cure: 'run `cmake --build build/native` to see the whole output; deleting build/native starts afresh',
  });
}

function requireCmake() {
  const wanted = `CMake ${CMAKE_MINIMUM.join('.')} or newer on the PATH`;
  const cure = 'install CMake (Debian and Ubuntu: apt install cmake; anywhere: pip install cmake)';
  const cmake = findOnPath('cmake');
  if (cmake === undefined) {
    throw new SetupFailure({
      what: 'CMake was not found; the add-on cannot be compiled.',
      expected: wanted,
      cure,
    });
  }
  const version = /cmake version (\d+)\.(\d+)/.exec(capture(cmake, ['--version']).stdout);
  const [major = 0, minor = 0] = version?.slice(1).map(Number) ?? [];
  const [wantedMajor = 0, wantedMinor = 0] = CMAKE_MINIMUM;
  if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) return cmake;
  throw new SetupFailure({
    what: 'This CMake is too old.',
    where: cmake,
    expected: wanted,
    got: version?.[0] ?? 'no version',
    cure,
  });
}

/** The C++ compiler: the one that CXX names, else the first that is there. */
function requireCompiler() {
  const cure = 'install a compiler (Debian and Ubuntu: apt install g++), or name one with CXX';
  const names = process.env.CXX ? [process.env.CXX] : ['c++', 'g++', 'clang++'];
  const compiler = names.map((name) => (name.includes('/') ? name : findOnPath(name))).find(Boolean);
  if (compiler === undefined) {
    throw new SetupFailure({
      what: 'No C++ compiler was found; the add-on cannot be compiled.',
      expected: `${names.join(', ')} on the PATH`,
      cure,
    });
  }
  const options = ['-std=c++20', '-fopenmp', '-fsyntax-only', '-x', 'c++', '-'];
  const input = '#include <concepts>\n#include <span>\n#include <omp.h>\n';
  const { status, stderr } = capture(compiler, options, { input });
  if (status === 0) return compiler;
  throw new SetupFailure({
    what: 'This C++ compiler cannot compile the add-on.',
    where: compiler,
    expected: 'C++20 and OpenMP: GCC 11 or newer, or clang 14 or newer with its OpenMP headers',
    got: lastLines(stderr, 2),
    cure,
  });
}

function noBuildTool() {
  return new SetupFailure({
    what: 'Neither ninja nor make was found; the add-on cannot be compiled.',
    expected: 'ninja or make on the PATH',
    cure: 'install one (Debian and Ubuntu: apt install ninja-build)',
  });
}

/**
 * CMake refuses a folder that another generator has configured.
 * @param {string} build
 * @param {string} generator
 */
function discardOtherGenerator(build, generator) {
  const cache = join(build, 'CMakeCache.txt');
  if (existsSync(cache) && !readFileSync(cache, 'utf8').includes(`CMAKE_GENERATOR:INTERNAL=${generator}\n`)) {
    rmSync(build, { recursive: true });
  }
}

/**
 * Whether libtorch's std::string is the one of the C++11 standard ("1") or, as in the older wheels, the one
 * before ("0"): read from the mangled name of a constructor that takes a string.
 *
 * @param {string} path
 */
function stringAbiOf(path) {
  const symbols = readFileSync(join(path, 'lib', 'libc10.so')).toString('latin1');
  return symbols.includes('_ZN3c105ErrorC1ENS_14SourceLocationESs') ? '0' : '1';
}
