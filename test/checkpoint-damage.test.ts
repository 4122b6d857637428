import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { TrainyardError } from '../src/base/errors.js';
import { loadCheckpoint } from '../src/store/checkpoint.js';
import { assertFuzzed, fuzz } from './fuzz/fuzz.js';
import { manifests } from './fuzz/manifests.js';
import { memoryFolder } from './memory-folder.js';
import { PARTS, savePartedCheckpoint } from './parted-checkpoint.js';
import { chanceOf } from './store-simulated-disk.js';

// Whatever becomes of a file of a checkpoint is found before anything is trained, is named, and the checkpoint before
// it is used. `node dist/test/checkpoint-damage.test.js` prints how much was tried.

const FLIPS = 1000;
const CUTS = 100;

let root = '';
before(() => {
  root = memoryFolder('trainyard-damage-');
  for (const step of [1, 2]) savePartedCheckpoint(join(root, 'whole'), step);
});
after(() => rmSync(root, { recursive: true }));

const files = [
  'manifest.json',
  ...Array.from({ length: PARTS }, (_, rank) => `part-0000${rank}.safetensors`),
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
  const folder = join(root, 'fuzz');
  mkdirSync(folder);
  assertFuzzed(fuzz(manifests, folder, { seed: 13, first: 0, rounds: MANIFESTS }));
});
