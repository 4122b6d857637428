import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { type Engine, initialize, TrainyardError, type UserConfig } from '../src/index.js';

const LENGTH = 12;
const VOCABULARY = 37;

let root = '';
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-disk-full-'));
});
after(() => rmSync(root, { recursive: true }));

function configOf(disk?: string): UserConfig {
  const files = { device: 'nvme', nvme_path: disk } as const;
  return {
    model: {
      architecture: 'llama',
      vocab_size: VOCABULARY,
      hidden_size: 20,
      intermediate_size: 47,
      num_hidden_layers: 2,
      num_attention_heads: 2,
    },
    train_batch_size: 1,
    optimizer: { type: 'AdamW', params: { lr: 0.01 } },
    zero_optimization: {
      stage: 3,
      stage3_param_persistence_threshold: 0,
      ...(disk !== undefined && { offload_optimizer: files, offload_param: files, sub_group_size: 2048 }),
    },
  };
}

function trainStep(engine: Engine): void {
  engine.trainBatch({ inputIds: [Array.from({ length: LENGTH }, (_, i) => (i * 5) % VOCABULARY)] });
}

/** A file system of its own, where one can be mounted; else a line that says why not. */
function onDisk(name: string, mountArguments: readonly string[], use: (disk: string) => void): void {
  const disk = join(root, name);
  mkdirSync(disk);
  const { status, stderr } = spawnSync('mount', [...mountArguments, disk], { encoding: 'utf8' });
  if (status !== 0) {
    console.log(`nothing was shown: no file system can be mounted here: ${stderr}`);
    return;
  }
  try {
    use(disk);
  } finally {
    spawnSync('umount', [disk]);
  }
}

const small = (size: string): readonly string[] => ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs'];

function fails(code: string, message: RegExp, run: () => unknown): void {
  assert.throws(
    run,
    (error) => error instanceof TrainyardError && error.code === code && message.test(error.message),
  );
}

test('a disk with too little room for the training state is an error before anything is trained', () => {
  onDisk('states', small('128k'), (disk) => {
    fails('OFFLOAD_UNUSABLE', /nvme_path[\s\S]*expected {2}\d+ bytes free[\s\S]*got {7}\d+ bytes free/, () =>
      initialize({ config: configOf(disk) }),
    );
    assert.deepEqual(readdirSync(disk), []);
  });
});

test('a disk with too little room for a checkpoint is an error that leaves nothing there, and training goes on', () => {
  onDisk('checkpoints', small('64k'), (disk) => {
    const engine = initialize({ config: configOf() });
    trainStep(engine);
    fails('OUTPUT_UNWRITABLE', /bytes free/, () => engine.save(disk));
    assert.deepEqual(readdirSync(disk), []);
    trainStep(engine);
    assert.equal(engine.steps, 2);
    engine.close();
  });
});

test('a disk that somebody else fills after the start ends the step with one clear error', () => {
  // ext3 cannot give a file room before it is written, and the moments of Adam are written by the first step.
  const image = join(root, 'image');
  writeFileSync(image, '');
  truncateSync(image, 4 * 2 ** 20);
  const made = spawnSync('mkfs.ext3', ['-q', '-m', '0', '-O', '^has_journal', image]);
  if (made.status !== 0) {
    console.log('nothing was shown: mkfs.ext3 is missing or failed');
    return;
  }
  onDisk('filled', ['-o', 'loop', image], (disk) => {
    const engine = initialize({ config: configOf(disk) });
    const other = spawnSync('dd', ['if=/dev/zero', `of=${join(disk, 'other')}`, 'bs=4k'], {
      encoding: 'utf8',
    });
    assert.match(other.stderr, /No space left/);
    fails('OFFLOAD_FAILED', /Writing offloaded memory[\s\S]*the disk is full[\s\S]*Make room/, () =>
      trainStep(engine),
    );
    engine.close();
  });
});
