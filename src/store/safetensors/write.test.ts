import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../../base/errors.js';
import { DTYPES, type DType } from '../../tensor/dtype.js';
import { type FileSystem, nodeFileSystem } from '../file-system.js';
import { openSafetensors } from '../safetensors.js';
import { byteLengthOf, type TensorSource, writeSafetensors } from './write.js';

/** What is read back at once needs no waiting for the disk. */
const unsynced: FileSystem = { ...nodeFileSystem, sync() {}, syncDirectory() {} };

let folder = '';
before(() => {
  folder = mkdtempSync(join(tmpdir(), 'trainyard-safetensors-'));
});
after(() => rmSync(folder, { recursive: true }));

interface Written {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

const tensors = fc.uniqueArray(
  fc
    .record({
      name: fc.string({ unit: 'grapheme', maxLength: 20 }).filter((name) => name !== '__metadata__'),
      dtype: fc.constantFrom(...(Object.keys(DTYPES) as DType[])),
      shape: fc.array(fc.nat({ max: 4 }), { maxLength: 4 }),
      seed: fc.nat({ max: 255 }),
    })
    .map(({ seed, ...description }): Written => {
      const bytes = new Uint8Array(byteLengthOf(description));
      return { ...description, bytes: bytes.map((_, index) => seed + index * 7) };
    }),
  { selector: ({ name }) => name, maxLength: 12 },
);

test('what is written is read back, aligned, whatever the names, types and shapes', () => {
  const path = join(folder, 'round-trip.safetensors');
  fc.assert(
    fc.property(tensors, fc.boolean(), (written, asProducer) => {
      const sources = written.map(
        ({ bytes, ...description }): TensorSource =>
          asProducer ? { ...description, write: (target) => target.set(bytes) } : { ...description, bytes },
      );
      writeSafetensors(path, sources, unsynced);
      const file = openSafetensors(path);
      assert.deepEqual([...file.metadata], [['format', 'pt']]);
      assert.deepEqual(new Set(file.names), new Set(written.map(({ name }) => name)));
      for (const { name, dtype, shape, bytes } of written) {
        const entry = file.entry(name);
        assert.equal(entry.dtype, DTYPES[dtype].safetensors);
        assert.deepEqual(entry.shape, shape);
        assert.deepEqual(Buffer.from(file.bytes(name)), Buffer.from(bytes));
        assert.equal(entry.byteOffset % DTYPES[dtype].bytes, 0);
      }
    }),
    { numRuns: 300 },
  );
  assert.deepEqual(readdirSync(folder), ['round-trip.safetensors']);
});

test('the order of the given tensors does not change the file', () => {
  const path = join(folder, 'order.safetensors');
  fc.assert(
    fc.property(tensors, (written) => {
      writeSafetensors(path, written, unsynced);
      const first = readFileSync(path);
      writeSafetensors(path, [...written].reverse(), unsynced);
      assert.deepEqual(readFileSync(path), first);
    }),
    { numRuns: 50 },
  );
});

test('a failing producer leaves the old file and no other', () => {
  const path = join(folder, 'kept.safetensors');
  writeSafetensors(path, [{ name: 'a', dtype: 'uint8', shape: [1], bytes: Uint8Array.of(7) }]);
  const failing: TensorSource = {
    name: 'a',
    dtype: 'uint8',
    shape: [1],
    write() {
      throw new Error('no bytes today');
    },
  };
  assert.throws(() => writeSafetensors(path, [failing]), /no bytes today/);
  assert.deepEqual([...openSafetensors(path).bytes('a')], [7]);
  assert.equal(readdirSync(folder).filter((name) => name.startsWith('kept')).length, 1);
});

test('a producer of the wrong size is a bug of ours', () => {
  const wrong = { name: 'a', dtype: 'float32', shape: [2], bytes: new Uint8Array(4) } as const;
  assert.throws(
    () => writeSafetensors(join(folder, 'wrong'), [wrong]),
    /Trainyard bug: a gave 4 bytes, not 8/,
  );
  const twice = { name: 'a', dtype: 'uint8', shape: [0], bytes: new Uint8Array(0) } as const;
  assert.throws(() => writeSafetensors(join(folder, 'twice'), [twice, twice]), /Trainyard bug: two tensors/);
});

test('an unwritable place is one clear error', () => {
  writeFileSync(join(folder, 'file'), '');
  assert.throws(
    () => writeSafetensors(join(folder, 'file', 'x.safetensors'), []),
    (error) => error instanceof TrainyardError && error.code === 'OUTPUT_UNWRITABLE',
  );
});

test('files that cannot be read are refused with their name', () => {
  const refused = (path: string, reason: RegExp, options = {}): void => {
    assert.throws(
      () => openSafetensors(path, options),
      (error) => {
        assert.ok(error instanceof TrainyardError && error.code === 'SAFETENSORS_INVALID', String(error));
        assert.ok(error.report.where?.startsWith(path));
        assert.match(error.report.got ?? '', reason);
        return true;
      },
    );
  };
  refused(join(folder, 'missing'), /no such file/);
  refused(folder, /not a regular file|is a folder/);
  refused('/dev/zero', /not a regular file/);
  refused('a\0b', /NUL/);
  const target = join(folder, 'target.safetensors');
  const link = join(folder, 'link.safetensors');
  writeSafetensors(target, []);
  symlinkSync(target, link);
  assert.deepEqual(openSafetensors(link).names, []);
  refused(link, /symbolic link/, { followLink: false });
});

test('a tensor that is not there is refused by name', () => {
  const path = join(folder, 'lacking.safetensors');
  writeSafetensors(path, []);
  assert.throws(() => openSafetensors(path).bytes('a\u001b'), /tensor "a\\u001b"/);
});

test('a file that shrank after it was opened is refused, not read beyond its end', () => {
  const path = join(folder, 'shrunk.safetensors');
  writeSafetensors(path, [{ name: 'a', dtype: 'uint8', shape: [64], bytes: new Uint8Array(64) }]);
  const file = openSafetensors(path);
  writeFileSync(path, readFileSync(path).subarray(0, 100));
  assert.throws(() => file.bytes('a'), /stays as it is/);
});
