// Compiles the add-on against TRAINYARD_LIBTORCH (first form; `setup.mjs` will find libtorch itself).
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const libtorch = process.env.TRAINYARD_LIBTORCH ?? '';
const build = join(root, 'build/native');
const run = (command, args) => {
  const { status } = spawnSync(command, args, { stdio: 'inherit' });
  if (status !== 0) process.exit(1);
};
if (!existsSync(join(libtorch, 'include'))) throw new Error('set TRAINYARD_LIBTORCH');
const args = [`-DTRAINYARD_LIBTORCH=${libtorch}`, `-DTRAINYARD_RUN_PATH=${join(libtorch, 'lib')}`];
run('cmake', ['-S', join(root, 'native'), '-B', build, '-G', 'Ninja', ...args]);
run('cmake', ['--build', build]);
