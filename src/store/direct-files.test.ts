import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { constants as systemConstants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { alignedZeros } from '../tensor/aligned-buffers.js';
import { fromBytes } from '../tensor/create.js';
import { zeros } from '../tensor/generated/functions.js';
import { liveTensors, scope, type Tensor } from '../tensor/tensor.js';
import { aioSchema } from './config.js';
import { FILE_ALIGNMENT } from './direct-files/alignment.js';
import { type DirectFolderOptions, openDirectFolder } from './direct-files/open-folder.js';
import {
  describeKind,
  type Fault,
  TRANSFER_KINDS,
  type TransferKind,
} from './direct-files/transfer-queue.js';

const { EIO, ENOSPC } = systemConstants.errno;

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-files-'));
});
after(() => rmSync(root, { recursive: true }));

/** Small blocks, so that a transfer has many. */
const AIO = { block_size: 8192, queue_depth: 3 };

function options(given: Partial<DirectFolderOptions> = {}): DirectFolderOptions {
  return { setting: 'nvme_path', mark: 'test', aio: aioSchema.parse(AIO), ...given };
}

function refuses(code: string, report: RegExp, body: () => unknown): void {
  assert.throws(body, (error) => {
    assert.ok(error instanceof TrainyardError);
    assert.equal(error.code, code);
    assert.match(error.message, report);
    return true;
  });
}

/** Kinds that this machine has: all, where it is Linux with io_uring and a disk. */
function kindsHere(): readonly TransferKind[] {
  return TRANSFER_KINDS.filter((kind) => {
    try {
      openDirectFolder(root, options({ kinds: [kind] })).close();
      return true;
    } catch {
      console.log(`not on this machine: ${describeKind(kind)}`);
      return false;
    }
  });
}

/** Bytes that differ from page to page. */
function noise(bytes: number, seed: number): Uint8Array {
  let state = seed + 1;
  return Uint8Array.from({ length: bytes }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
}

/** One transfer: pages [first, first + pages) of the file, from a place in memory that may lie anywhere. */
interface Piece {
  readonly first: number;
  readonly pages: number;
  readonly memoryOffset: number;
}

const FILE_PAGES = 24;
/** The file does not end at a page. */
const FILE_BYTES = FILE_PAGES * FILE_ALIGNMENT - 1000;

const pieces: fc.Arbitrary<readonly Piece[]> = fc.array(
  fc.record({
    first: fc.nat(FILE_PAGES - 1),
    pages: fc.integer({ min: 1, max: FILE_PAGES }),
    memoryOffset: fc.oneof(fc.constant(0), fc.nat(5000)),
  }),
  { minLength: 1, maxLength: 6 },
);

function lengthOf({ first, pages }: Piece): number {
  return Math.min(pages * FILE_ALIGNMENT, FILE_BYTES - first * FILE_ALIGNMENT);
}

/** Writes the pieces and reads all of the file, and each piece, at once; the file is what writing them in turn makes. */
function writeAndRead(kind: TransferKind, written: readonly Piece[], fault: Fault): void {
  const folder = openDirectFolder(root, options({ kinds: [kind], fault }));
  const file = folder.create('pieces', FILE_BYTES);
  const expected = new Uint8Array(FILE_BYTES);
  scope(() => {
    for (const [seed, piece] of written.entries()) {
      const content = noise(lengthOf(piece), seed);
      const memory = alignedZeros([piece.memoryOffset + content.length], 'uint8');
      memory
        .narrow(0, piece.memoryOffset, content.length)
        .copy_(fromBytes(content, [content.length], 'uint8'));
      file.write(piece.first * FILE_ALIGNMENT, memory, piece.memoryOffset, content.length).wait();
      expected.set(content, piece.first * FILE_ALIGNMENT);
    }
    const reads = [{ first: 0, pages: FILE_PAGES, memoryOffset: 7 }, ...written].map((piece) => {
      const memory = zeros([piece.memoryOffset + lengthOf(piece)], { dtype: 'uint8' });
      const work = file.read(piece.first * FILE_ALIGNMENT, memory, piece.memoryOffset, lengthOf(piece));
      return { piece, memory, work };
    });
    for (const { piece, memory, work } of reads) {
      work.wait();
      work.wait();
      const start = piece.first * FILE_ALIGNMENT;
      const content = memory.toBytes().subarray(piece.memoryOffset);
      assert.ok(Buffer.from(expected.subarray(start, start + lengthOf(piece))).equals(content));
    }
  });
  file.close();
  folder.close();
}

/** Writes a file again and again, and says so once. */
const ENDLESS_WRITER = `
  const [module, path] = process.argv.slice(1);
  const { openDirectFolder } = await import(module);
  const { aioSchema } = await import(new URL('../config.js', 'file://' + module));
  const { alignedZeros } = await import(new URL('../../tensor/aligned-buffers.js', 'file://' + module));
  const folder = openDirectFolder(path, { setting: 'x', mark: 'killed', aio: aioSchema.parse({}) });
  const file = folder.create('moments', 2 ** 24);
  const memory = alignedZeros([2 ** 24], 'uint8');
  for (let turn = 0; ; turn += 1) {
    const work = file.write(0, memory, 0, 2 ** 24);
    if (turn === 1) (await import('node:fs')).writeSync(1, 'writing');
    work.wait();
  }
`;

describe('files of offloaded memory', () => {
  for (const kind of TRANSFER_KINDS) {
    const name = describeKind(kind);

    test(`${name}: what is written anywhere is read, whatever is asked for at once`, () => {
      if (!kindsHere().includes(kind)) return;
      fc.assert(
        fc.property(pieces, fc.boolean(), (written, cutsShort) => writeAndRead(kind, written, { cutsShort })),
        { numRuns: 12 },
      );
    });

    test(`${name}: a failing request fails its transfer, which says where; others go on`, () => {
      if (!kindsHere().includes(kind)) return;
      for (const [error, words] of [
        [EIO, /the disk reports an error/],
        [ENOSPC, /the disk is full[\s\S]*Make room/],
      ] as const) {
        const folder = openDirectFolder(root, options({ kinds: [kind], fault: { at: 4, error } }));
        const file = folder.create('moments', 6 * 8192);
        scope(() => {
          const memory = alignedZeros([6 * 8192], 'uint8');
          const first = file.write(0, memory, 0, 2 * 8192);
          first.wait();
          const second = file.write(2 * 8192, memory, 0, 4 * 8192);
          refuses('OFFLOAD_FAILED', words, () => second.wait());
          refuses('OFFLOAD_FAILED', /\(moments\)[\s\S]*32768 bytes written to offset 16384/, () =>
            second.wait(),
          );
          file.read(0, memory, 0, 6 * 8192).wait();
        });
        file.close();
        folder.close();
      }
    });

    test(`${name}: options of aio change nothing in what is written`, () => {
      if (!kindsHere().includes(kind)) return;
      for (const aio of [
        { block_size: 4096, queue_depth: 1 },
        { intra_op_parallelism: 3, single_submit: true },
        { block_size: 4096, queue_depth: 4, overlap_events: false },
      ]) {
        const folder = openDirectFolder(root, options({ kinds: [kind], aio: aioSchema.parse(aio) }));
        const file = folder.create('options', 2 ** 20);
        scope(() => {
          const content = fromBytes(noise(2 ** 20, 1), [2 ** 20], 'uint8');
          file.write(0, content, 0, 2 ** 20).wait();
          const read = zeros([2 ** 20], { dtype: 'uint8' });
          file.read(0, read, 0, 2 ** 20).wait();
          assert.ok(read.equal(content));
        });
        file.close();
        folder.close();
      }
    });
  }

  test('the first kind that works is chosen and said', () => {
    const folder = openDirectFolder(root, options());
    const [best] = kindsHere();
    assert.ok(best);
    assert.match(folder.describe(), new RegExp(`^${describeKind(best)}, 3 requests of 8 KiB at once`));
    folder.close();
  });

  test('memory that is dropped while it is written is written all the same', () => {
    const folder = openDirectFolder(root, options());
    const file = folder.create('dropped', 2 ** 20);
    const before = liveTensors();
    const content = noise(2 ** 20, 3);
    const works = scope(() => [file.write(0, fromBytes(content, [2 ** 20], 'uint8'), 0, 2 ** 20)]);
    assert.equal(liveTensors(), before);
    // Whatever takes that memory next must not get into the file.
    const others: readonly Tensor[] = [1, 2, 3].map(() => zeros([2 ** 20], { dtype: 'uint8' }));
    for (const work of works) work.wait();
    const read = alignedZeros([2 ** 20], 'uint8');
    file.read(0, read, 0, 2 ** 20).wait();
    assert.ok(Buffer.from(content).equals(read.toBytes()));
    for (const tensor of [read, ...others]) tensor.dispose();
    file.close();
    folder.close();
  });

  test('no file has a name, one that a killed process has left is removed, and the folder may go', () => {
    const place = join(root, 'goes');
    mkdirSync(place);
    writeFileSync(join(place, '.trainyard-offload-old-0123456789ab'), 'left');
    const folder = openDirectFolder(place, options());
    const file = folder.create('moments', 8192);
    assert.deepEqual(readdirSync(place), []);
    rmSync(place, { recursive: true });
    scope(() => {
      const memory = alignedZeros([8192], 'uint8').fill_(3);
      file.write(0, memory, 0, 8192).wait();
      const read = zeros([8192], { dtype: 'uint8' });
      file.read(0, read, 0, 8192).wait();
      assert.ok(read.equal(memory));
    });
    refuses('OFFLOAD_UNUSABLE', /there is no such file/, () => folder.create('more', 8192));
    file.close();
    folder.close();
  });

  test('a process that is killed while it writes leaves nothing', async () => {
    const place = join(root, 'killed');
    mkdirSync(place);
    const module = join(import.meta.dirname, 'direct-files/open-folder.js');
    const child = spawn(process.execPath, ['--input-type=module', '--eval', ENDLESS_WRITER, module, place]);
    await once(child.stdout, 'data');
    child.kill('SIGKILL');
    await once(child, 'exit');
    assert.equal(child.signalCode, 'SIGKILL');
    assert.deepEqual(readdirSync(place), []);
  });

  test('a folder that is missing, none, or not to be written is refused', () => {
    const missing = join(root, 'missing');
    refuses('OFFLOAD_UNUSABLE', /missing[\s\S]*nvme_path[\s\S]*there is no such file/, () =>
      openDirectFolder(missing, options()),
    );
    const plain = join(root, 'plain');
    writeFileSync(plain, '');
    refuses('OFFLOAD_UNUSABLE', /part of its path is not a folder/, () => openDirectFolder(plain, options()));
    refuses('OFFLOAD_UNUSABLE', /\/proc\/self/, () => openDirectFolder('/proc/self', options()));
  });

  test('too little room is found before anything is written', () => {
    const folder = openDirectFolder(root, options());
    folder.demandSpace(1);
    refuses('OFFLOAD_UNUSABLE', /expected {2}1e\+30 bytes free[\s\S]*got {7}\d+ bytes free/, () =>
      folder.demandSpace(1e30),
    );
    folder.close();
  });

  test('a disk that is full refuses the file', () => {
    const place = join(root, 'small');
    mkdirSync(place);
    const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', place]);
    if (status !== 0) {
      console.log(`no small file system can be mounted here: ${stderr}`);
      return;
    }
    try {
      const folder = openDirectFolder(place, options());
      refuses('OFFLOAD_UNUSABLE', /room for 1048576 bytes of moments[\s\S]*the disk is full/, () =>
        folder.create('moments', 2 ** 20),
      );
      folder.create('little', 4096).close();
      folder.close();
    } finally {
      spawnSync('umount', [place]);
    }
  });

  test('transfers outside of the file, of memory or of pages are bugs', () => {
    const folder = openDirectFolder(root, options());
    const file = folder.create('bounds', 10_000);
    scope(() => {
      const memory = alignedZeros([16_384], 'uint8');
      for (const [offset, memoryOffset, bytes] of [
        [0, 0, 10_001],
        [-4096, 0, 4096],
        [0, 0, 4095],
        [100, 0, 4096],
        [0, 16_384, 1],
        [4096, 16_384 - 4096, 5904],
      ] as const) {
        assert.throws(() => file.read(offset, memory, memoryOffset, bytes), /Trainyard bug/);
      }
      file.read(4096, memory, 0, 5904).wait();
      file.read(4096, memory, 0, 0).wait();
      assert.throws(() => file.read(0, memory.view([2, 8192]).t(), 0, 4096), /contiguous/);
    });
    file.close();
    assert.throws(() => file.write(0, zeros([1024]), 0, 4096), /closed/);
    folder.close();
  });
});
