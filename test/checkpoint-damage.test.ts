import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { TrainyardError } from '../src/base/errors.js';
import { draftCheckpoint } from '../src/store/checkpoint/write.js';
import { runCommitTask, runPartTask } from '../src/store/checkpoint/writer.js';
import { loadCheckpoint, manifestContent } from '../src/store/checkpoint.js';
import { type FileSystem, nodeFileSystem } from '../src/store/file-system.js';
import { chanceOf } from './store-simulated-disk.js';

// Whatever becomes of a file of a checkpoint is found before anything is trained, is named, and the checkpoint before
// it is used. `node dist/test/checkpoint-damage.test.js` prints how much was tried.

const RANKS = 3;
const TENSORS = ['embed.weight', 'optimizer.exp_avg.embed.weight', 'norm.weight'];
const ELEMENTS = 24;
const FLIPS = 1000;
const CUTS = 100;

/** What is read back at once needs no waiting for the disk. */
const unsynced: FileSystem = { ...nodeFileSystem, sync() {}, syncDirectory() {} };

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-damage-'));
  for (const step of [1, 2]) save(join(root, 'whole'), step);
});
after(() => rmSync(root, { recursive: true }));

/** A checkpoint of several ranks, each with a third of every tensor. */
function save(directory: string, step: number): void {
  const draft = draftCheckpoint(directory, `step-${step}`);
  const elements = ELEMENTS / RANKS;
  const parts = Array.from({ length: RANKS }, (_, rank) =>
    runPartTask(unsynced, {
      draft,
      rank,
      sources: TENSORS.map((name, index) => ({
        name,
        dtype: 'float32',
        shape: [4, 6],
        start: rank * elements,
        elements,
        read: (target) => void target.fill(step * 64 + rank * 8 + index),
      })),
    }),
  );
  const state = { step, data: { seed: 0, position: 0 }, random: {}, model: null, extra: { step } };
  runCommitTask(unsynced, { draft, content: manifestContent(state), parts });
}

const files = [
  'manifest.json',
  ...Array.from({ length: RANKS }, (_, rank) => `part-0000${rank}.safetensors`),
];

/** Damages the newest of two checkpoints, and expects the other one, with a reason that says which file it was. */
function expectFallBack(damage: (folder: string) => void, named: RegExp): void {
  const directory = join(root, 'damaged');
  cpSync(join(root, 'whole'), directory, { recursive: true });
  damage(join(directory, 'step-2'));
  expectStep1(directory, named);
  rmSync(directory, { recursive: true });
}

function expectStep1(directory: string, named: RegExp): void {
  const found = loadCheckpoint(directory);
  assert.equal(found?.tag, 'step-1');
  const [passedOver] = found.passedOver;
  assert.match(`${passedOver?.tag}: ${passedOver?.reason}`, named);
}

const named = (file: string): RegExp =>
  file === 'manifest.json' ? /^step-2: its manifest/ : new RegExp(`^step-2: .*${file}`);

/** Damages one file of the newest checkpoint so many times, each time as it was before. */
function damageFile(
  file: string,
  times: number,
  change: (content: Buffer) => Uint8Array,
  named: RegExp,
): void {
  const directory = join(root, 'in-place');
  cpSync(join(root, 'whole'), directory, { recursive: true });
  const path = join(directory, 'step-2', file);
  const content = readFileSync(path);
  for (let round = 0; round < times; round += 1) {
    writeFileSync(path, change(Buffer.from(content)));
    expectStep1(directory, named);
  }
  rmSync(directory, { recursive: true });
}

for (const file of files) {
  test(`${FLIPS / files.length} flips of one bit of ${file} are all found`, () => {
    const chance = chanceOf(7);
    const flip = (content: Buffer): Uint8Array => {
      const place = Math.floor(chance() * content.length);
      content[place] = (content[place] ?? 0) ^ (1 << Math.floor(chance() * 8));
      return content;
    };
    damageFile(file, FLIPS / files.length, flip, named(file));
  });

  test(`${CUTS} cuts of ${file} are all found`, () => {
    const chance = chanceOf(11);
    const cut = (content: Buffer): Uint8Array => content.subarray(0, Math.floor(chance() * content.length));
    damageFile(file, CUTS, cut, named(file));
  });
}

test('a flipped bit of a tensor names the tensor', () => {
  const flip = (content: Buffer): Uint8Array => {
    content[content.length - 1] = (content.at(-1) ?? 0) ^ 1;
    return content;
  };
  const tensor = 'the tensor optimizer\\.exp_avg\\.embed\\.weight is not what was saved';
  damageFile('part-00001.safetensors', 1, flip, new RegExp(`in part-00001\\.safetensors, ${tensor}`));
});

test('parts that are missing, swapped, longer, or of another step are found', () => {
  const [, first = '', second = ''] = files;
  expectFallBack((folder) => rmSync(join(folder, second)), named(second));
  expectFallBack((folder) => {
    renameSync(join(folder, first), join(folder, 'aside'));
    renameSync(join(folder, second), join(folder, first));
    renameSync(join(folder, 'aside'), join(folder, second));
  }, named(first));
  expectFallBack((folder) => cpSync(join(folder, '../step-1', second), join(folder, second)), named(second));
  expectFallBack((folder) => {
    writeFileSync(
      join(folder, second),
      Buffer.concat([readFileSync(join(folder, second)), Buffer.alloc(4096)]),
    );
  }, named(second));
  expectFallBack((folder) => rmSync(join(folder, 'manifest.json')), /^step-2: its manifest cannot be read/);
  expectFallBack((folder) => {
    cpSync(join(folder, '../step-1/manifest.json'), join(folder, 'manifest.json'));
  }, /^step-2: its manifest is that of step-1/);
});

test('where no checkpoint is left the message names all of them, and the exit code is 2', () => {
  const directory = join(root, 'none');
  cpSync(join(root, 'whole'), directory, { recursive: true });
  for (const step of readdirSync(directory).filter((name) => name.startsWith('step-'))) {
    rmSync(join(directory, step, 'part-00002.safetensors'));
  }
  assert.throws(
    () => loadCheckpoint(directory),
    (error) =>
      error instanceof TrainyardError &&
      error.exitCode === 2 &&
      /step-2: part-00002\.safetensors .*\n.*step-1: part-00002\.safetensors/.test(error.message),
  );
});

const MANIFESTS = 5000;

test(`${MANIFESTS} manifests with a right checksum and any content are used or refused, never followed astray`, () => {
  const chance = chanceOf(13);
  const directory = join(root, 'fuzz');
  cpSync(join(root, 'whole/step-1'), join(directory, 'step-1'), { recursive: true });
  const path = join(directory, 'step-1/manifest.json');
  const { manifest } = JSON.parse(readFileSync(path, 'utf8')) as { readonly manifest: Json };
  let refused = 0;
  for (let round = 0; round < MANIFESTS; round += 1) {
    let changed = manifest;
    for (let times = 0; times <= chance() * 3; times += 1) changed = mutated(changed, chance);
    const sha256 = createHash('sha256').update(JSON.stringify(changed)).digest('hex');
    writeFileSync(path, `${JSON.stringify({ sha256, manifest: changed }, undefined, 1)}\n`);
    const before = process.cpuUsage();
    try {
      const found = loadCheckpoint(directory);
      for (const name of found?.names ?? []) found?.read(name).bytes();
    } catch (error) {
      if (!(error instanceof TrainyardError)) throw error;
      assert.equal(error.code, 'CHECKPOINT_INVALID', `round ${round}`);
      refused += 1;
    }
    // Of this process's own time, so that what else a machine does is no reason to fail.
    const { user } = process.cpuUsage(before);
    assert.ok(user < 1e6, `round ${round} took ${user} µs`);
  }
  assert.ok(refused > MANIFESTS / 2, `${refused} of ${MANIFESTS} were refused`);
});

type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

const STRANGE: readonly Json[] = [
  ...[
    null,
    true,
    -1,
    0,
    1,
    2 ** 53,
    1e308,
    0.5,
    '',
    'step-1',
    '../..',
    '/etc/passwd',
    'part-99999.safetensors',
  ],
  ...['\u0000', 'x'.repeat(2000), [], {}, [[]], [0, 0], { dimension: 0, runs: [[0, 2 ** 53 - 1]] }],
];

/** One value somewhere inside replaced, removed, doubled, or given another name. */
function mutated(value: Json, chance: () => number): Json {
  const pick = <Item>(items: readonly Item[]): Item | undefined => items[Math.floor(chance() * items.length)];
  const isLeaf = typeof value !== 'object' || value === null || chance() < 0.1;
  if (isLeaf) return pick(STRANGE) ?? null;
  if (Array.isArray(value)) {
    const at = Math.floor(chance() * value.length);
    const how = chance();
    if (how < 0.1) return value.filter((_, index) => index !== at);
    if (how < 0.2) return value.flatMap((each, index) => (index === at ? [each, each] : [each]));
    return value.map((each: Json, index) => (index === at ? mutated(each, chance) : each));
  }
  const entries = Object.entries(value as { readonly [key: string]: Json });
  const chosen = pick(entries)?.[0];
  const how = chance();
  return Object.fromEntries(
    entries.flatMap(([key, each]): [string, Json][] => {
      if (key !== chosen) return [[key, each]];
      if (how < 0.05) return [];
      return how < 0.1 ? [[`${key}x`, each]] : [[key, mutated(each, chance)]];
    }),
  );
}
