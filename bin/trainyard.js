#!/usr/bin/env node
import { existsSync } from 'node:fs';

const program = new URL('../dist/src/cli/main.js', import.meta.url);

// Whoever reads our output may leave first, as `head` does; that is no failure.
process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});

if (existsSync(program)) {
  await import(program.href);
} else {
  console.error('Trainyard is not set up yet.\n  cure      run `npm run setup` in its folder');
  process.exitCode = 2;
}
