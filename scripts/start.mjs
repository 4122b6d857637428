#!/usr/bin/env node
/** `npm start [-- path]`: the set-up, then the demonstration run of the command line. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { runScript } from './setup/failure.mjs';
import { inRoot } from './setup/paths.mjs';
import { setUp } from './setup/set-up.mjs';

await runScript(async () => {
  await setUp();
  const args = [inRoot('bin', 'trainyard.js'), 'demo', ...process.argv.slice(2)];
  const demo = spawn(process.execPath, args, { stdio: 'inherit' });
  // The terminal sends an interrupt to both; the demonstration decides what it means and when to leave.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(signal, () => signal !== 'SIGINT' && demo.kill(signal));
  }
  demo.on('exit', (status, signal) => {
    process.exitCode = status ?? 128 + (constants.signals[signal ?? 'SIGTERM'] ?? 0);
  });
});
