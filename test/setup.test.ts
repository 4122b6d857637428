import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { SetupClone, type SetupRun } from './setup-clone.js';

/** What a fake Python does: it has pip or not, a torch or not, and pip can or cannot fetch. */
function python({ pip = 'exit 1', torch = '' }: { pip?: string; torch?: string }): string {
  const find = torch === '' ? 'exit 1' : `echo '${torch}'; exit 0`;
  return `case "$1 $2 $3" in "-c "*) ${find};; "-m pip --version") exit 0;; "-m pip install") ${pip};; esac`;
}

/** Shell that does what `pip install torch --target FOLDER` does, from a folder that is laid out already. */
function installs(source: string): string {
  return `while [ "$1" != --target ]; do shift; done; /bin/mkdir -p "$2"; /bin/cp -r '${source}/.' "$2"; exit 0`;
}

/** The one message of a failed set-up, which has to end it with exit code 2 and name a cure. */
function failure({ status, output }: SetupRun): string {
  assert.equal(status, 2, output);
  assert.equal(output.match(/SETUP_FAILED/g)?.length, 1, output);
  assert.match(output, /\n {2}cure {6}\S/);
  assert.doesNotMatch(output, /\n {4}at /, 'a stack trace');
  return output.slice(output.indexOf('SETUP_FAILED'));
}

describe('what is missing is one message with its cure', () => {
  test('a Node that is too old', async () => {
    using clone = new SetupClone();
    const old = `Object.defineProperty(process.versions, 'node', { value: '18.20.4' })`;
    const message = failure(await clone.run({}, old));
    assert.match(message, /This Node is too old/);
    assert.match(message, /expected {2}Node 20\.19 or newer\n {2}got {7}Node 18\.20\.4/);
  });

  test('npm', async () => {
    using clone = new SetupClone();
    clone.write('node_modules/.package-lock.json', '{"packages": {}}');
    assert.match(failure(await clone.run()), /npm was not found/);
  });

  test('the npm registry', async () => {
    using clone = new SetupClone();
    clone.write('node_modules/.package-lock.json', '{"packages": {}}');
    clone.fake('npm', 'echo "npm error code ENOTFOUND" >&2; exit 1');
    const message = failure(await clone.run());
    assert.match(message, /The npm registry could not be reached/);
    assert.match(message, /ENOTFOUND/);
  });

  test('pip', async () => {
    using clone = new SetupClone();
    clone.fake('python3', 'exit 1');
    assert.match(failure(await clone.run()), /there is no pip to fetch it with/);
  });

  test('the package index', async () => {
    using clone = new SetupClone();
    const pip = 'echo "NewConnectionError: Failed to establish a new connection" >&2; exit 1';
    clone.fake('python3', python({ pip }));
    assert.match(failure(await clone.run()), /The package index could not be reached/);
  });

  test('the wheel in the package index', async () => {
    using clone = new SetupClone();
    clone.fake(
      'pip3',
      '[ "$1" = --version ] || { echo "ERROR: No matching distribution found" >&2; exit 1; }',
    );
    const run = await clone.run({ TRAINYARD_TORCH_VERSION: '2.9.1' });
    assert.match(failure(run), /no such wheel for this machine\.\n {2}at {8}pip install torch==2\.9\.1/);
  });

  test('space on the disk, before anything is fetched', async () => {
    using clone = new SetupClone();
    clone.fake('python3', python({}));
    const full = `
      import fs from 'node:fs';
      import { syncBuiltinESMExports } from 'node:module';
      fs.statfsSync = () => ({ bavail: 200, bsize: 1e6 });
      syncBuiltinESMExports();`;
    const run = await clone.run({}, full);
    assert.match(failure(run), /not enough disk space[\s\S]*expected {2}3 GB free\n {2}got {7}0\.2 GB free/);
    assert(!run.calls.some((call) => call.includes('pip install')));
  });

  test('space on the disk, while pip unpacks', async () => {
    using clone = new SetupClone();
    clone.fake('python3', python({ pip: 'echo "OSError: [Errno 28] No space left on device" >&2; exit 1' }));
    assert.match(failure(await clone.run()), /The disk is full/);
  });

  test('libtorch where TRAINYARD_LIBTORCH says', async () => {
    using clone = new SetupClone();
    const message = failure(await clone.run({ TRAINYARD_LIBTORCH: clone.root }));
    assert.match(message, /holds no complete libtorch/);
    assert(message.includes(clone.root));
  });

  test('a libtorch of a supported version', async () => {
    using clone = new SetupClone();
    const message = failure(await clone.run({ TRAINYARD_LIBTORCH: clone.libtorch('old', '2.5.1') }));
    assert.match(message, /not supported[\s\S]*from 2\.6 to 2\.14[\s\S]*got {7}2\.5\.1/);
    const asked = failure(await clone.run({ TRAINYARD_TORCH_VERSION: '2.15.0' }));
    assert.match(asked, /at {8}TRAINYARD_TORCH_VERSION[\s\S]*got {7}2\.15\.0/);
  });

  test('CMake', async () => {
    using clone = new SetupClone();
    const run = await clone.run({ TRAINYARD_LIBTORCH: clone.libtorch('torch', '2.13.0') });
    assert.match(failure(run), /CMake was not found[\s\S]*apt install cmake/);
  });

  test('a CMake that is new enough', async () => {
    using clone = new SetupClone();
    clone.fakeCompiler().fake('cmake', 'echo "cmake version 3.10.2"');
    const run = await clone.run({ TRAINYARD_LIBTORCH: clone.libtorch('torch', '2.13.0') });
    assert.match(failure(run), /CMake is too old[\s\S]*got {7}cmake version 3\.10/);
  });

  test('a compiler', async () => {
    using clone = new SetupClone();
    clone.fake('cmake', 'echo "cmake version 4.1.0"');
    const TRAINYARD_LIBTORCH = clone.libtorch('torch', '2.13.0');
    assert.match(
      failure(await clone.run({ TRAINYARD_LIBTORCH })),
      /No C\+\+ compiler was found[\s\S]*apt install g\+\+/,
    );
    clone.fake('g++', 'echo "error: unrecognized option -std=c++20" >&2; exit 1');
    assert.match(failure(await clone.run({ TRAINYARD_LIBTORCH })), /cannot compile the add-on[\s\S]*GCC 11/);
    clone.fake('g++', 'exit 0');
    assert.match(failure(await clone.run({ TRAINYARD_LIBTORCH })), /Neither ninja nor make/);
  });

  test('libraries that libtorch needs', async () => {
    using clone = new SetupClone();
    clone.fakeCompiler().fake('ldd', 'echo "	libmkl.so.2 => not found"');
    const run = await clone.run({ TRAINYARD_LIBTORCH: clone.libtorch('torch', '2.13.0') });
    assert.match(failure(run), /needs libraries that were not found[\s\S]*missing: libmkl\.so\.2/);
  });

  test('sources that compile', async () => {
    using clone = new SetupClone();
    clone.fakeCompiler();
    clone.fake(
      'cmake',
      'case "$1" in --version) echo "cmake version 3.25.1";; --build) echo "x.cc: error: no"; exit 1;; esac',
    );
    const TRAINYARD_LIBTORCH = clone.libtorch('torch', '2.13.0');
    assert.match(
      failure(await clone.run({ TRAINYARD_LIBTORCH })),
      /could not be compiled[\s\S]*x\.cc: error: no/,
    );
    clone.fakeCompiler();
    clone.write('node_modules/typescript/bin/tsc', 'console.log("a.ts(1,1): error"); process.exitCode = 2;');
    assert.match(
      failure(await clone.run({ TRAINYARD_LIBTORCH })),
      /TypeScript found errors\.\na\.ts\(1,1\): error/,
    );
  });
});

test('everything is done once, and again only where something changed', async () => {
  using clone = new SetupClone();
  clone.fakeCompiler();
  const TRAINYARD_LIBTORCH = clone.libtorch('torch', '2.13.0');
  const first = await clone.run({ TRAINYARD_LIBTORCH });
  assert.equal(first.status, 0, first.output);
  assert.match(first.output, /2\.13\.0 on the CPU, .*torch \(TRAINYARD_LIBTORCH names it\)/);
  assert.equal(first.calls.filter((call) => call.startsWith('cmake')).length, 3);
  assert(first.calls.includes('tsc'));
  assert(existsSync(join(clone.root, 'node_modules/.bin/trainyard')));

  const second = await clone.run({ TRAINYARD_LIBTORCH });
  assert.deepEqual(second.calls, [], 'nothing is started when nothing changed');

  clone.write('native/addon.cc', '// changed');
  const third = await clone.run({ TRAINYARD_LIBTORCH });
  assert(third.calls.some((call) => call.startsWith('cmake --build')));
  assert(!third.calls.includes('tsc'));

  clone.write('src/index.ts', '// changed');
  assert.deepEqual((await clone.run({ TRAINYARD_LIBTORCH })).calls, ['tsc']);

  const other = await clone.run({ TRAINYARD_LIBTORCH: clone.libtorch('other', '2.12.0') });
  assert(
    other.calls.some((call) => call.startsWith('cmake --build')),
    'another libtorch',
  );
});

test('libtorch: one fetched before, then that of python3, then pip', async () => {
  using clone = new SetupClone();
  clone.libtorch('wheel/torch', '2.13.0');
  const installed = clone.libtorch('site-packages/torch', '2.9.0');
  const pip = installs(join(clone.root, 'wheel'));

  clone.fakeCompiler().fake('python3', python({ pip, torch: installed }));
  const fromPython = await clone.run();
  assert.match(
    fromPython.output,
    /2\.9\.0 on the CPU, .*site-packages\/torch \(the torch of python3 on the PATH\)/,
  );

  clone.fake('python3', python({ pip, torch: clone.libtorch('site-packages-old/torch', '2.5.0') }));
  const fetched = await clone.run();
  assert.equal(fetched.status, 0, fetched.output);
  assert.match(fetched.output, /2\.13\.0 on the CPU, .*build\/libtorch\/2\.13\.0\/torch \(fetched with pip/);
  const call = fetched.calls.find((each) => each.includes('pip install')) ?? '';
  for (const option of [
    'torch==2.13.0',
    '--no-deps',
    '--only-binary=:all:',
    '--python-version 3.11',
    '--implementation cp',
  ]) {
    assert(call.includes(option), `${option} in ${call}`);
  }

  clone.fake('python3', python({ pip, torch: installed }));
  const again = await clone.run();
  assert.match(again.output, /build\/libtorch\/2\.13\.0\/torch \(fetched before\)/);
  assert(!again.calls.some((each) => each.startsWith('python3')));
});

test('a CUDA wheel brings the nvidia wheels that it cannot be loaded without, and all of them for a GPU', async () => {
  using clone = new SetupClone();
  clone.libtorch('wheel/torch', '2.13.0');
  clone.write('wheel/torch/lib/libtorch_cuda.so', '');
  clone.write(
    'wheel/torch-2.13.0.dist-info/METADATA',
    [
      'Requires-Dist: sympy>=1.13.3',
      'Requires-Dist: cuda-toolkit[cublas,cudart,cupti]==13.0.3; platform_system == "Linux"',
      'Requires-Dist: nvidia-nccl-cu13==2.30.7; platform_system == "Linux"',
    ].join('\n'),
  );
  clone.write('cuda/nvidia/cu13/lib/libcudart.so.13', '');
  const fetches = (source: string): string => installs(join(clone.root, source));
  const pip = `case "$*" in *torch==*) ${fetches('wheel')};; *) ${fetches('cuda')};; esac`;
  const wheels = 'build/libtorch/*/nvidia';
  clone.fakeCompiler().fake('python3', python({ pip }));
  clone.fake(
    'ldd',
    `case "$1" in *.partial*) [ -d "\${1%/torch/lib/*}/nvidia" ] || echo "	libcudart.so.13 => not found";; esac`,
  );

  const withoutGpu = await clone.run();
  assert.equal(withoutGpu.status, 0, withoutGpu.output);
  assert.match(withoutGpu.output, /2\.13\.0 on the CPU/);
  const [, few = ''] = withoutGpu.calls.filter((call) => call.includes('pip install'));
  assert.match(few, /cuda-toolkit\[cudart\]==13\.0\.3$/);
  assert.doesNotMatch(few, /--no-deps|nccl|sympy/);
  assert(existsSync(join(clone.root, wheels.replace('*', '2.13.0'), 'cu13/lib/libcudart.so.13')));

  const withGpu = await clone.run({ TRAINYARD_CUDA: '1' });
  assert.equal(withGpu.status, 0, withGpu.output);
  assert.match(withGpu.output, /2\.13\.0 with CUDA/);
  const [all = ''] = withGpu.calls.filter((call) => call.includes('pip install'));
  assert.match(all, /cuda-toolkit\[cublas,cudart,cupti\]==13\.0\.3 nvidia-nccl-cu13==2\.30\.7$/);
  assert(withGpu.calls.some((call) => call.includes('-DTRAINYARD_CUDA=ON')));
  assert((await clone.run({ TRAINYARD_CUDA: '1' })).calls.length === 0, 'and only once');
});
