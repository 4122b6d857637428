import { chooseLibtorch } from './libtorch.mjs';
import { compileAddon } from './native.mjs';
import { requireSupportedNode } from './node-version.mjs';
import { installPackages, linkCommand } from './packages.mjs';
import { say } from './tools.mjs';
import { compileTypeScript } from './typescript.mjs';

/** Brings a clone from whatever state it is in to one that runs. */
export async function setUp() {
  requireSupportedNode();
  await installPackages();
  linkCommand();
  const libtorch = await chooseLibtorch();
  const half = libtorch.cuda ? 'with CUDA' : 'on the CPU';
  say('libtorch', `${libtorch.version} ${half}, ${libtorch.path} (${libtorch.reason})`);
  await compileAddon(libtorch);
  await compileTypeScript();
}
