import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { TrainyardError } from '../src/base/errors.js';
import { loadConfig } from '../src/engine/config.js';
import { type BadConfiguration, badConfigurations, goodConfiguration } from './bad-configurations.js';

const folder = mkdtempSync(join(tmpdir(), 'trainyard-bad-input-'));
after(() => rmSync(folder, { recursive: true }));

test('the good configuration is accepted, so that each bad one is bad for its own reason', () => {
  const file = write({ name: 'good', keys: {}, code: '', says: [] });
  assert.equal(loadConfig(file, [], { requires: ['model', 'data', 'steps'] }).config.train_batch_size, 8);
});

test('there are at least sixty wrong configurations, each under a name of its own', () => {
  const names = new Set(badConfigurations.map(({ name }) => name));
  assert.ok(names.size >= 60);
  assert.equal(names.size, badConfigurations.length);
});

for (const bad of badConfigurations) {
  test(bad.name, () => {
    const error = errorOf(bad);
    assert.equal(error.code, bad.code, error.message);
    assert.equal(error.exitCode, 2);
    for (const part of bad.says)
      assert.ok(error.message.includes(part), `no "${part}" in:\n${error.message}`);
    assert.doesNotMatch(error.message, /^ +at .*\.[jt]s:\d+/m, 'a stack trace');
  });
}

test('all errors of a file come together, in the order of the file, the first twenty in full', () => {
  const keys = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`unknown_${index}`, index]));
  const error = errorOf({ name: 'thirty', keys, code: '', says: [] });
  assert.match(error.message, /has 30 errors/);
  assert.match(error.message, /… and 10 more/);
  const order = [...error.message.matchAll(/^Unknown key "unknown_(\d+)"/gm)].map(([, index]) =>
    Number(index),
  );
  assert.deepEqual(
    order,
    Array.from({ length: 20 }, (_, index) => index),
  );
});

test('a file that does not exist is one error', () => {
  assert.throws(
    () => loadConfig(join(folder, 'none.json')),
    (error) => error instanceof TrainyardError && /no such file/.test(error.message) && error.exitCode === 2,
  );
});

function errorOf(bad: BadConfiguration): TrainyardError {
  const file = write(bad);
  try {
    loadConfig(file, bad.set, { worldSize: bad.ranks ?? 1, requires: ['model', 'data', 'steps'] });
  } catch (error) {
    assert.ok(error instanceof TrainyardError, String(error));
    return error;
  }
  return assert.fail('accepted');
}

function write({ name, keys, text }: BadConfiguration): string {
  const file = join(folder, `${name.replaceAll(/\W+/g, '-').slice(0, 60)}.json`);
  writeFileSync(file, text ?? JSON.stringify({ ...goodConfiguration, ...keys }, null, 2));
  return file;
}
