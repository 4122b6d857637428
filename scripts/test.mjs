#!/usr/bin/env node
/**
 * `npm test`: the set-up, `npm run check`, then every test. Arguments pick test files by a part of their path
 * (`npm test -- store/safetensors launch`); with arguments the checks are left out.
 */
import { spawnSync } from 'node:child_process';
import { relative } from 'node:path';
import { runScript } from './setup/failure.mjs';
import { inRoot, root } from './setup/paths.mjs';
import { setUp } from './setup/set-up.mjs';
import { filesUnder } from './setup/stamp.mjs';

/** Test files at once: several start processes of their own. */
const CONCURRENCY = 2;

/** A test file that takes longer hangs. */
const LONGEST_MS = 300_000;

await runScript(async () => {
  const filters = process.argv.slice(2);
  await setUp();
  const passed = [filters.length > 0 || runNode(['scripts/check.mjs']), runTests(filters)];
  if (passed.includes(false)) process.exitCode = 1;
});

/** @param {readonly string[]} filters */
function runTests(filters) {
  const files = testFiles().filter(
    (file) => filters.length === 0 || filters.some((part) => file.includes(part)),
  );
  if (files.length === 0) {
    console.error(`No test file has ${filters.join(' or ')} in its path.`);
    return false;
  }
  // Two test files, each with tiny kernels on as many threads as there are cores, would wait for each other.
  process.env['OMP_NUM_THREADS'] ??= '1';
  const options = ['--enable-source-maps', '--test', '--test-reporter=spec', `--test-timeout=${LONGEST_MS}`];
  return runNode([...options, `--test-concurrency=${CONCURRENCY}`, ...files]);
}

/** What the sources compile to: a file whose source is gone would be a test of nothing. */
function testFiles() {
  return ['src', 'test']
    .flatMap((folder) => filesUnder(inRoot(folder), (name) => name.endsWith('.test.ts')))
    .map((file) => `dist/${relative(root, file).replace(/\.ts$/, '.js')}`);
}

/** @param {readonly string[]} args */
function runNode(args) {
  return (
    spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
  );
}
