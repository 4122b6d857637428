#!/usr/bin/env node
/**
 * Compiles the add-on alone: the part of the set-up that is wanted while its C++ is being written. `--sanitize address`
 * compiles another one beside it, into build/native-address, with the compiler's checks of memory.
 */
import { parseArgs } from 'node:util';
import { runScript } from './setup/failure.mjs';
import { chooseLibtorch } from './setup/libtorch.mjs';
import { compileAddon } from './setup/native.mjs';

await runScript(async () => {
  const { values } = parseArgs({ options: { sanitize: { type: 'string', default: '' } } });
  await compileAddon(await chooseLibtorch(), values.sanitize);
});
