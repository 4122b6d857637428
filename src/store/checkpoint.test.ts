import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { type PieceSource, wholePiece } from './checkpoint/write.js';
import { type LoadedCheckpoint, loadCheckpoint, saveCheckpoint } from './checkpoint.js';
import { type FileSystem, nodeFileSystem } from './file-system.js';

/** What is read back at once needs no waiting for the disk. */
const unsynced: FileSystem = { ...nodeFileSystem, sync() {}, syncDirectory() {} };

let root = '';
let count = 0;
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-checkpoint-'));
});
after(() => rmSync(root, { recursive: true }));

const newDirectory = (): string => {
  count += 1;
  return join(root, String(count));
};

const tensor = (name: string, bytes: Uint8Array): PieceSource =>
  wholePiece({ name, dtype: 'uint8', shape: [bytes.length], bytes });

function save(
  directory: string,
  step: number,
  options: { readonly tag?: string; readonly fill?: number } = {},
): string {
  const fill = options.fill ?? step;
  const state = {
    step,
    data: { seed: 3, position: step * 4 },
    random: { cpu: new Uint8Array(8).fill(fill) },
    model: { model_type: 'llama' },
    extra: { lossScale: 65536 },
  };
  const tensors = [
    tensor('weight', new Uint8Array(64).fill(fill)),
    tensor('weight.moment', new Uint8Array(64).fill(fill + 1)),
    tensor('empty', new Uint8Array(0)),
  ];
  return saveCheckpoint(directory, {
    state,
    tensors,
    ...(options.tag === undefined ? {} : { tag: options.tag }),
  });
}

function load(directory: string, tag?: string): LoadedCheckpoint {
  const checkpoint = loadCheckpoint(directory, tag === undefined ? {} : { tag });
  assert.ok(checkpoint !== undefined);
  return checkpoint;
}

function invalid(pattern: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof TrainyardError && error.code === 'CHECKPOINT_INVALID', String(error));
    assert.match(error.message, pattern);
    return true;
  };
}

test('what was saved comes back: state, random generators, tensors', () => {
  const directory = newDirectory();
  assert.equal(loadCheckpoint(directory), undefined);
  assert.equal(save(directory, 7), join(directory, 'step-7'));
  const { tag, state, names, passedOver, read } = load(directory);
  assert.deepEqual([tag, passedOver], ['step-7', []]);
  assert.deepEqual(state, {
    step: 7,
    data: { seed: 3, position: 28 },
    random: { cpu: new Uint8Array(8).fill(7) },
    model: { model_type: 'llama' },
    extra: { lossScale: 65536 },
  });
  assert.deepEqual(new Set(names), new Set(['weight', 'weight.moment', 'empty']));
  assert.deepEqual([...read('weight.moment').bytes()], Array(64).fill(8));
  assert.deepEqual([read('empty').dtype, read('empty').shape], ['uint8', [0]]);
  assert.throws(() => read('other'), invalid(/another model or optimizer/));
});

test('any state and any tensors come back', () => {
  const directory = newDirectory();
  const names = fc.uniqueArray(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 10 }), {
    maxLength: 4,
  });
  const count = fc.nat({ max: Number.MAX_SAFE_INTEGER });
  fc.assert(
    fc.property(
      names,
      count,
      fc.uint8Array({ maxLength: 50 }),
      fc.jsonValue({ maxDepth: 3 }).filter((json) => !JSON.stringify(json).includes('"__proto__"')),
      (keys, position, bytes, json) => {
        // The names of settings are the engine's own; readers of JSON leave out this one, which could change objects.
        const settings = keys.filter((key) => key !== '__proto__').map((key) => [key, json] as const);
        const extra = JSON.parse(JSON.stringify(Object.fromEntries(settings)));
        const state = { step: 1, data: { seed: 0, position }, random: { a: bytes }, model: null, extra };
        const stored = keys.filter((key) => key !== '__metadata__');
        saveCheckpoint(directory, { state, tensors: stored.map((key) => tensor(key, bytes)) }, unsynced);
        const checkpoint = load(directory);
        assert.deepEqual(
          { ...checkpoint.state, random: { a: Buffer.from(checkpoint.state.random.a ?? []) } },
          { ...state, random: { a: Buffer.from(bytes) } },
        );
        for (const key of stored)
          assert.deepEqual(Buffer.from(checkpoint.read(key).bytes()), Buffer.from(bytes));
      },
    ),
    { numRuns: 100 },
  );
  assert.deepEqual(readdirSync(directory), ['latest', 'step-1']);
});

test('the last committed checkpoint is loaded, whatever its step and whatever "latest" says', () => {
  const directory = newDirectory();
  save(directory, 100);
  save(directory, 150);
  save(directory, 120, { tag: 'after-going-back' });
  assert.equal(load(directory).tag, 'after-going-back');
  assert.equal(readFileSync(join(directory, 'latest'), 'utf8'), 'after-going-back\n');
  writeFileSync(join(directory, 'latest'), '../../etc');
  assert.equal(load(directory).tag, 'after-going-back');
  assert.equal(load(directory, 'step-150').state.step, 150);
  assert.throws(
    () => load(directory, 'step-151'),
    invalid(/step-151 cannot be used(.|\n)*no checkpoint of this name/),
  );
});

test('only the owner can enter a checkpoint', () => {
  const directory = newDirectory();
  assert.equal(statSync(save(directory, 1)).mode & 0o777, 0o700);
  assert.equal(statSync(directory).mode & 0o777, 0o700);
});

for (const tag of [
  '',
  '.',
  '..',
  '../up',
  '/root',
  'a/b',
  'a\\b',
  'a\0',
  '-rf',
  '.hidden',
  'a b',
  'ä',
  'latest',
  'x.tmp-1',
  'x.old-1',
  'a'.repeat(129),
  'a\n',
]) {
  test(`a checkpoint cannot be called ${JSON.stringify(tag).slice(0, 40)}`, () => {
    const directory = newDirectory();
    assert.throws(() => save(directory, 1, { tag }), invalid(/cannot have this name/));
    assert.throws(() => loadCheckpoint(directory, { tag }), invalid(/cannot have this name/));
  });
}

test('a damaged checkpoint is passed over for the one before it, and both are named', () => {
  const directory = newDirectory();
  save(directory, 1);
  const part = join(save(directory, 2), 'part-00000.safetensors');
  const content = readFileSync(part);
  content[content.length - 1] = (content.at(-1) ?? 0) ^ 1;
  writeFileSync(part, content);
  const { tag, passedOver } = load(directory);
  assert.equal(tag, 'step-1');
  assert.deepEqual(passedOver, [
    { tag: 'step-2', reason: 'in part-00000.safetensors, the tensor weight.moment is not what was saved' },
  ]);
  assert.throws(() => load(directory, 'step-2'), invalid(/weight\.moment is not what was saved/));
});

/** A fresh copy of one checkpoint, for damaging. */
function copyOf(original: string): { readonly directory: string; readonly folder: string } {
  const directory = newDirectory();
  const folder = join(directory, 'step-5');
  cpSync(original, folder, { recursive: true });
  return { directory, folder };
}

test('parts that belong to another checkpoint are found', () => {
  const directory = newDirectory();
  const [first, second] = [save(directory, 1), save(directory, 2)];
  const part = 'part-00000.safetensors';
  renameSync(join(first, part), join(root, 'aside'));
  renameSync(join(second, part), join(first, part));
  renameSync(join(root, 'aside'), join(second, part));
  assert.throws(() => load(directory), invalid(/step-2: .*\n.*step-1: /));
  rmSync(join(second, part));
  assert.throws(
    () => load(directory, 'step-2'),
    invalid(/part-00000\.safetensors cannot be read: there is no such file/),
  );
  renameSync(second, join(directory, 'step-3'));
  assert.throws(() => load(directory, 'step-3'), invalid(/its manifest is that of step-2/));
});

test('links in the place of a checkpoint or of its files are not followed', () => {
  const elsewhere = newDirectory();
  const genuine = save(elsewhere, 5);
  const directory = newDirectory();
  mkdirSync(directory);
  symlinkSync(genuine, join(directory, 'step-5'));
  assert.equal(loadCheckpoint(directory), undefined);
  rmSync(join(directory, 'step-5'));
  for (const file of readdirSync(genuine)) {
    const { directory: copy, folder } = copyOf(genuine);
    rmSync(join(folder, file));
    symlinkSync(join(genuine, file), join(folder, file));
    assert.throws(() => load(copy), invalid(/step-5: /));
  }
});

test('folders without a manifest are no checkpoints, and the message says so', () => {
  const directory = newDirectory();
  mkdirSync(join(directory, 'step-9'), { recursive: true });
  assert.throws(() => load(directory), invalid(/step-9: its manifest cannot be read: there is no such file/));
  save(directory, 4);
  const { tag, passedOver } = load(directory);
  assert.equal(tag, 'step-4');
  // Nobody knows how old it is.
  assert.deepEqual(
    passedOver.map((each) => each.tag),
    ['step-9'],
  );
});

test('a manifest with a right checksum and wrong content is refused', () => {
  const original = save(newDirectory(), 5);
  const { manifest } = JSON.parse(readFileSync(join(original, 'manifest.json'), 'utf8'));
  const { directory, folder } = copyOf(original);
  for (const change of [
    { version: 1 },
    { version: 3 },
    { step: -1 },
    { step: 2 ** 60 },
    { files: [{ ...manifest.files[0], name: '../part-00000.safetensors' }] },
    { files: [{ ...manifest.files[0], name: '/dev/zero' }] },
    { files: [...manifest.files, ...manifest.files] },
    { files: [] },
    { tensors: [] },
    { tensors: [...manifest.tensors, ...manifest.tensors] },
    { tensors: manifest.tensors.map((each: object) => ({ ...each, shape: [1, 64] })) },
    { tensors: manifest.tensors.map((each: object) => ({ ...each, dtype: 'int8' })) },
    { tensors: manifest.tensors.map((each: object) => ({ ...each, pieces: [] })) },
    { tensors: changedPieces({ file: 'part-00001.safetensors' }) },
    { tensors: changedPieces({ start: 1 }) },
    { tensors: changedPieces({ elements: 63 }) },
    { tensors: changedPieces({ along: { dimension: 1, runs: [[0, 64]] } }) },
    { tensors: changedPieces({ along: { dimension: 0, runs: [[0, 32]] } }) },
    { unknown: 1 },
  ]) {
    const changed = { ...manifest, ...change };
    const sha256 = createHash('sha256').update(JSON.stringify(changed)).digest('hex');
    writeFileSync(
      join(folder, 'manifest.json'),
      `${JSON.stringify({ sha256, manifest: changed }, undefined, 1)}\n`,
    );
    assert.throws(() => load(directory), invalid(/step-5: /), JSON.stringify(change).slice(0, 80));
  }

  function changedPieces(change: object): unknown {
    return manifest.tensors.map((each: { readonly pieces: readonly object[] }) => ({
      ...each,
      pieces: each.pieces.map((piece) => ({ ...piece, ...change })),
    }));
  }
});

test('a checkpoint of another version of the format says so', () => {
  const { directory, folder } = copyOf(save(newDirectory(), 5));
  const path = join(folder, 'manifest.json');
  const { manifest } = JSON.parse(readFileSync(path, 'utf8'));
  const older = { ...manifest, version: 1 };
  const sha256 = createHash('sha256').update(JSON.stringify(older)).digest('hex');
  writeFileSync(path, `${JSON.stringify({ sha256, manifest: older }, undefined, 1)}\n`);
  assert.throws(() => load(directory), invalid(/it is of version 1; this program reads version 2/));
});

test('a manifest that says the same in other white space is not the one that was saved', () => {
  const { directory, folder } = copyOf(save(newDirectory(), 5));
  const path = join(folder, 'manifest.json');
  writeFileSync(path, JSON.stringify(JSON.parse(readFileSync(path, 'utf8'))));
  assert.throws(() => load(directory), invalid(/it is not as it was written/));
});

test('a manifest that nests too deep to be read is refused', () => {
  const { directory, folder } = copyOf(save(newDirectory(), 5));
  for (const depth of [5_000, 1_000_000]) {
    const manifest = `{"extra":${'['.repeat(depth)}${']'.repeat(depth)}}`;
    writeFileSync(join(folder, 'manifest.json'), `{"sha256":"","manifest":${manifest}}`);
    assert.throws(() => load(directory), invalid(/step-5: its manifest is damaged/));
  }
});
