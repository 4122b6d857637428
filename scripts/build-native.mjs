#!/usr/bin/env node
/** Compiles the add-on alone: the part of the set-up that is wanted while its C++ is being written. */
import { runScript } from './setup/failure.mjs';
import { chooseLibtorch } from './setup/libtorch.mjs';
import { compileAddon } from './setup/native.mjs';

await runScript(async () => compileAddon(await chooseLibtorch()));
