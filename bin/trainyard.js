#!/usr/bin/env node
import { existsSync } from 'node:fs';

const program = new URL('../dist/src/cli/main.js', import.meta.url);

if (existsSync(program)) {
  await import(program.href);
} else {
  console.error('Trainyard is not set up yet.\n  cure      run `npm run setup` in its folder');
  process.exitCode = 2;
}
