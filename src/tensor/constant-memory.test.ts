import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { TrainyardError } from '../base/errors.js';
import { mapConstantFile } from './constant-memory/mapped-file.js';
import { openConstants, shareConstants } from './constant-memory/shared-memory.js';
import type { ConstantMemory } from './constant-memory.js';
import { tensor } from './create.js';
import { DTYPES } from './dtype.js';
import { cat } from './generated/functions.js';
import { allocatedBytes } from './memory.js';
import { keep, liveTensors, scope, type Tensor } from './tensor.js';

const VALUES = [1, 2, 3, 4, 5, 6];
const BYTES = VALUES.length * DTYPES.float32.bytes;

function shared(): ConstantMemory {
  return shareConstants({ bytes: BYTES, tensorBytes: BYTES }, (memory) =>
    memory.tensor(0, [6], 'float32').copy_(tensor(VALUES)),
  ).memory;
}

/** Both kinds of constant memory with the same values. */
function withEach(body: (memory: ConstantMemory) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'trainyard-constants-'));
  const path = join(folder, 'values');
  writeFileSync(path, new Uint8Array(Float32Array.from(VALUES).buffer));
  try {
    for (const memory of [shared(), mapConstantFile(path, BYTES)]) {
      scope(() => body(memory));
      memory.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function isConstantError(error: unknown): boolean {
  return error instanceof TrainyardError && error.code === 'TENSOR_CONSTANT';
}

test('constants are read like any tensor, at any offset, and outlive the memory they were made from', () => {
  withEach((memory) => {
    const part = memory.tensor(8, [2, 2], 'float32');
    memory.close();
    assert.deepEqual(part.toArray(), [3, 4, 5, 6]);
    assert.deepEqual(part.mm(part).toArray(), [29, 36, 45, 56]);
    assert.deepEqual(cat([part, part]).shape, [4, 2]);
    assert.throws(() => memory.tensor(0, [1], 'float32'), /used after it was closed/);
  });
});

test('every way to write a constant, or a view of one, is refused and changes nothing', () => {
  withEach((memory) => {
    const constant = memory.tensor(0, [2, 3], 'float32');
    const other = tensor([9, 9, 9, 9, 9, 9], [2, 3]);
    const writes: readonly ((target: Tensor) => unknown)[] = [
      (target) => target.add_(1),
      (target) => target.fill_(0),
      (target) => target.zero_(),
      (target) => target.copy_(other),
      (target) => target.normal_(0, 1),
      (target) => target.select(0, 0).mul_(2),
      (target) => target.t().narrow(0, 1, 1).zero_(),
      (target) => target.detach().view([6]).add_(1),
    ];
    for (const write of writes) assert.throws(() => write(constant), isConstantError, String(write));
    assert.deepEqual(constant.toArray(), VALUES);
    constant.clone().add_(1);
    other.copy_(constant);
    assert.deepEqual(other.toArray(), VALUES);
  });
});

test('memory that is being filled can be written, and is sealed only when nobody can any more', () => {
  const escaped: Tensor[] = [];
  const fill = (memory: ConstantMemory) => escaped.push(keep(memory.tensor(0, [6], 'float32')));
  assert.throws(() => shareConstants({ bytes: BYTES, tensorBytes: 0 }, fill), isConstantError);
  for (const tensor of escaped) tensor.dispose();
});

test('the memory of another process is opened by its address, and cannot be written there either', () => {
  const made = shareConstants({ bytes: BYTES, tensorBytes: 0 }, (memory) =>
    memory.tensor(0, [6], 'float32').copy_(tensor(VALUES)),
  );
  const opened = openConstants(made.address, 0);
  scope(() => {
    const constant = opened.tensor(0, [6], 'float32');
    assert.deepEqual(constant.toArray(), VALUES);
    assert.throws(() => constant.zero_(), isConstantError);
  });
  opened.close();
  const stale = made.address.replace(/:\d+:(\d+)$/, ':1:$1');
  assert.notEqual(stale, made.address);
  assert.throws(
    () => openConstants(stale, 0),
    /Cannot map.*[Ss]tale/,
    'its number means another file by now',
  );
  made.memory.close();
  assert.throws(() => openConstants(`${process.pid}:1000000:1:1`, 0), /Cannot map/);
  assert.throws(() => openConstants('elsewhere', 0), /no address/);
});

test('constants count as allocated while they are mapped, and leave no handle behind', () => {
  const [bytes, handles] = [allocatedBytes(), liveTensors()];
  const memory = shared();
  assert.equal(allocatedBytes() - bytes, BYTES);
  const constant = memory.tensor(0, [6], 'float32');
  memory.close();
  assert.equal(allocatedBytes() - bytes, BYTES, 'a tensor keeps it mapped');
  constant.dispose();
  assert.deepEqual([allocatedBytes(), liveTensors()], [bytes, handles]);
});

// Autograd adds to a leaf's `.grad` inside libtorch, where no operator of ours is asked.
test('a write that nobody checks dies on the protected page', () => {
  const program = `
    import { backward } from '${new URL('./autograd.js', import.meta.url)}';
    import { shareConstants } from '${new URL('./constant-memory/shared-memory.js', import.meta.url)}';
    import { tensor } from '${new URL('./create.js', import.meta.url)}';
    const { memory } = shareConstants({ bytes: 4096, tensorBytes: 0 }, () => undefined);
    const leaf = tensor([1, 2]);
    leaf.requiresGrad = true;
    leaf.grad = process.argv[1] === 'constant' ? memory.tensor(0, [2], 'float32') : tensor([0, 0]);
    backward([leaf.sum()]);
    process.exit(7);
  `;
  const outcome = (argument: string) =>
    spawnSync(process.execPath, ['--input-type=module', '-e', program, argument], { encoding: 'utf8' });
  assert.equal(outcome('constant').signal, 'SIGSEGV');
  const writable = outcome('writable');
  assert.equal(writable.status, 7, writable.stderr);
});
