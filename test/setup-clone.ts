import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { text } from 'node:stream/consumers';

const REPOSITORY = join(import.meta.dirname, '../..');

/** What a run of the set-up did. */
export interface SetupRun {
  readonly status: number | null;
  /** Standard error. */
  readonly output: string;
  /** The fake programs that were started, with their arguments, in order. */
  readonly calls: readonly string[];
}

/**
 * A clone with the real set-up scripts around stand-ins: packages that are installed already, one source file of
 * each kind, and a PATH that holds fake programs only. Nothing is downloaded or compiled.
 */
export class SetupClone {
  readonly root = mkdtempSync(join(tmpdir(), 'trainyard-setup-'));

  constructor() {
    cpSync(join(REPOSITORY, 'scripts'), join(this.root, 'scripts'), { recursive: true });
    const lock = JSON.stringify({
      packages: { '': {}, 'node_modules/typescript': { integrity: 'sha512-1' } },
    });
    this.write('package.json', '{"type": "module"}');
    this.write('package-lock.json', lock);
    this.write('node_modules/.package-lock.json', lock);
    this.write('node_modules/typescript/bin/tsc', TSC);
    this.write('bin/trainyard.js', '');
    this.write('tsconfig.json', '{}');
    this.write('native/CMakeLists.txt', '');
    this.write('native/addon.cc', '');
    this.write('src/index.ts', '');
    this.write('test/index.ts', '');
    mkdirSync(join(this.root, 'fakes'));
  }

  /** Writes a file, its folder included. Returns its full path. */
  write(path: string, content: string): string {
    const file = join(this.root, path);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, content);
    return file;
  }

  /** Puts a program on the PATH: a shell script after a line that logs the call. */
  fake(name: string, body: string): this {
    const script = `#!/bin/sh\necho "${name} $*" >> '${join(this.root, 'calls')}'\n${body}\n`;
    chmodSync(this.write(join('fakes', name), script), 0o755);
    return this;
  }

  /** All that a compilation needs, each of it working. */
  fakeCompiler(): this {
    mkdirSync(join(this.root, 'build/native'), { recursive: true });
    const addon = join(this.root, 'build/native/trainyard.node');
    return this.fake('c++', 'exit 0')
      .fake('ninja', 'exit 0')
      .fake('cmake', `case "$1" in --version) echo "cmake version 3.25.1";; --build) : > '${addon}';; esac`);
  }

  /** A folder that looks like libtorch of a version. Returns its path. */
  libtorch(path: string, version: string): string {
    const [major, minor, patch] = version.split('.');
    this.write(
      join(path, 'include/torch/headeronly/version.h'),
      `#define TORCH_VERSION_MAJOR ${major}\n#define TORCH_VERSION_MINOR ${minor}\n#define TORCH_VERSION_PATCH ${patch}\n`,
    );
    this.write(join(path, 'lib/libc10.so'), '');
    this.write(join(path, 'lib/libtorch_cpu.so'), '');
    return join(this.root, path);
  }

  /**
   * Runs `npm run setup`'s script.
   * @param prelude JavaScript that runs in the same process first, to change what Node says of the machine
   */
  async run(variables: Readonly<Record<string, string>> = {}, prelude = ''): Promise<SetupRun> {
    rmSync(join(this.root, 'calls'), { force: true });
    const options = prelude === '' ? [] : ['--import', `data:text/javascript,${encodeURIComponent(prelude)}`];
    const child = spawn(process.execPath, [...options, join(this.root, 'scripts/setup.mjs')], {
      cwd: this.root,
      env: { PATH: join(this.root, 'fakes'), TRAINYARD_CUDA: '0', ...variables },
      stdio: ['ignore', 'inherit', 'pipe'],
    });
    const [output] = await Promise.all([text(child.stderr), once(child, 'close')]);
    const log = join(this.root, 'calls');
    const calls = existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n') : [];
    return { status: child.exitCode, output, calls };
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true });
  }
}

/** Stands in for the TypeScript compiler, which the set-up starts with Node. */
const TSC = `
import { appendFileSync, mkdirSync } from 'node:fs';
appendFileSync('calls', 'tsc\\n');
mkdirSync('dist/src', { recursive: true });
`;
