#!/usr/bin/env node
import { runScript } from './setup/failure.mjs';
import { setUp } from './setup/set-up.mjs';

await runScript(setUp);
