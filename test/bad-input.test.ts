import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { type BadConfiguration, badConfigurations, goodConfiguration } from './bad-configurations.js';
import { badFiles, goodRun } from './bad-files.js';
import { type CommandResult, failInProcess, run } from './command-line.js';

const folder = mkdtempSync(join(tmpdir(), 'trainyard-bad-input-'));
after(() => rmSync(folder, { recursive: true }));

test('the good configuration is accepted, so that each bad one is bad for its own reason', () => {
  const config = resolveConfig(goodConfiguration as UserConfig, { requires: ['model', 'data', 'steps'] });
  assert.equal(config.train_batch_size, 8);
});

test('there are at least sixty wrong configurations, each under a name of its own', () => {
  const names = new Set(badConfigurations.map(({ name }) => name));
  assert.ok(names.size >= 60);
  assert.equal(names.size, badConfigurations.length);
});

for (const bad of badConfigurations) {
  test(bad.name, async () => assertExplained(await failInProcess(argumentsOf(bad)), bad));
}

test('the good run is accepted, so that each bad file is bad for its own reason', async () => {
  const file = join(folder, 'good-run.json');
  writeFileSync(file, JSON.stringify(goodRun(join(folder, 'good-run'))));
  assert.equal((await run(['inspect', file, '--json'])).exitCode, 0);
});

for (const bad of badFiles) {
  test(bad.name, async () => {
    const place = join(folder, 'bad-run');
    const config = goodRun(place);
    bad.spoil(place);
    const file = join(place, 'run.json');
    writeFileSync(file, JSON.stringify({ ...config, ...bad.keys?.(place) }));
    assertExplained(await failInProcess(['inspect', file]), bad);
  });
}

test('all errors of a file come together, in the order of the file, the first twenty in full', async () => {
  const keys = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`unknown_${index}`, index]));
  const { stderr } = await failInProcess(argumentsOf({ name: 'thirty', keys, code: '', says: [] }));
  assert.match(stderr, /has 30 errors/);
  assert.match(stderr, /… and 10 more/);
  const order = [...stderr.matchAll(/^Unknown key "unknown_(\d+)"/gm)].map(([, index]) => Number(index));
  assert.deepEqual(
    order,
    Array.from({ length: 20 }, (_, index) => index),
  );
});

const file = join(folder, 'real.json');
const realCommands: readonly (readonly [
  name: string,
  args: readonly string[],
  code: string,
  says: string,
])[] = [
  ['a wrong configuration to train', ['train', file], 'CONFIG_INVALID', 'Did you mean "seed"'],
  ['the same on two ranks', ['train', file, '--ranks', '2'], 'CONFIG_INVALID', 'Did you mean "seed"'],
  [
    'the same to print its program',
    ['program', file, '--ranks', '2'],
    'CONFIG_INVALID',
    'Did you mean "seed"',
  ],
  ['a file that is not there', ['train', join(folder, 'none.json')], 'CONFIG_UNREADABLE', 'no such file'],
  ['a folder for a file', ['inspect', folder], 'CONFIG_UNREADABLE', 'a folder'],
  ['a file without end', ['train', '/dev/zero'], 'CONFIG_UNREADABLE', 'a device'],
  ['no file at all', ['train'], 'USAGE', 'config'],
  ['a flag that nobody knows', ['train', file, '--rank', '2'], 'USAGE', '--ranks'],
  ['no ranks', ['train', file, '--ranks', '0'], 'USAGE', '--ranks'],
  ['a command that nobody knows', ['trian', file], 'USAGE', 'train'],
];

for (const [name, args, code, says] of realCommands) {
  test(`a process of its own: ${name}`, async () => {
    writeFileSync(file, JSON.stringify({ ...goodConfiguration, sed: 1 }));
    assertExplained(await run(args), { code, says: [says] });
  });
}

/** One clear error: exit code 2, its code, its parts, on stderr alone, without a stack trace. */
function assertExplained(
  result: CommandResult,
  { code, says }: Pick<BadConfiguration, 'code' | 'says'>,
): void {
  const { exitCode, stdout, stderr } = result;
  assert.equal(exitCode, 2, stderr);
  assert.equal(stdout, '');
  assert.ok(stderr.includes(`error ${code}`), `no ${code} in:\n${stderr}`);
  assert.equal(stderr.match(/^error /gm)?.length, 1, `more than one error:\n${stderr}`);
  for (const part of says) assert.ok(stderr.includes(part), `no "${part}" in:\n${stderr}`);
  assert.doesNotMatch(stderr, /^ +at .*\.[mc]?[jt]s:\d+|\bundefined\b|\[object Object\]/m);
}

function argumentsOf({ name, keys, text, set = [], ranks = 1 }: BadConfiguration): readonly string[] {
  const path = join(folder, `${name.replaceAll(/\W+/g, '-').slice(0, 60)}.json`);
  writeFileSync(path, text ?? JSON.stringify({ ...goodConfiguration, ...keys }, null, 2));
  const flags = set.flatMap((setting) => ['--set', setting]);
  return ranks === 1 ? ['inspect', path, ...flags] : ['program', path, '--ranks', String(ranks), ...flags];
}
