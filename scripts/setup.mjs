#!/usr/bin/env node
import { runScript } from './setup/failure.mjs';
/**
 * `npm run setup`: does everything that is missing between a clone and a program that runs. It installs the
 * npm packages, finds or fetches libtorch, compiles the add-on and compiles TypeScript. Each step first sees
 * whether its work is done, so that a second run costs a fraction of a second.
 */
import { chooseLibtorch } from './setup/libtorch.mjs';
import { compileAddon } from './setup/native.mjs';
import { requireSupportedNode } from './setup/node-version.mjs';
import { installPackages } from './setup/packages.mjs';
import { say } from './setup/tools.mjs';
import { compileTypeScript } from './setup/typescript.mjs';

await runScript(async () => {
  requireSupportedNode();
  await installPackages();
  const libtorch = await chooseLibtorch();
  const kind = libtorch.cuda ? 'with CUDA' : 'CPU';
  say('libtorch', `${libtorch.version} (${kind}) at ${libtorch.path}: ${libtorch.reason}`);
  await compileAddon(libtorch);
  await compileTypeScript();
});
