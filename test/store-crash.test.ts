import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { TrainyardError } from '../src/base/errors.js';
import { draftCheckpoint, wholePiece } from '../src/store/checkpoint/write.js';
import { runCommitTask, runPartTask } from '../src/store/checkpoint/writer.js';
import { loadCheckpoint, manifestContent, type RunState, saveCheckpoint } from '../src/store/checkpoint.js';
import { type FileSystem, nodeFileSystem } from '../src/store/file-system.js';
import { openModelFolder } from '../src/store/hugging-face/model-folder.js';
import { saveModelFolder } from '../src/store/hugging-face/save-model-folder.js';
import type { TensorSource } from '../src/store/safetensors/write.js';
import { chanceOf, SimulatedCrash, SimulatedDisk } from './store-simulated-disk.js';

const POWER_LOSSES = 8;

const FAILURES = {
  ENOSPC: 'the disk is full',
  EIO: 'the disk reports an error',
  EROFS: 'the file system is read-only',
};

/** Spares the real disk what only matters on the simulated one. */
const unsynced: FileSystem = { ...nodeFileSystem, sync() {}, syncDirectory() {} };

let root = '';
let count = 0;
before(() => {
  root = mkdtempSync(join(tmpdir(), 'trainyard-crash-'));
});
after(() => rmSync(root, { recursive: true }));

/**
 * Something that is saved twice in the same place. `version` reads back which of the two saves is there whole,
 * and throws when it is neither.
 */
interface Scenario {
  readonly place: string;
  readonly save: (fileSystem: FileSystem, path: string, version: 1 | 2) => void;
  readonly version: (path: string) => number;
}

const tensors = (version: number): readonly (TensorSource & { readonly bytes: Uint8Array })[] =>
  ['weight', 'moment'].map((name, index) => ({
    name,
    dtype: 'float32',
    shape: [3, 2],
    bytes: new Uint8Array(24).fill(version * 16 + index),
  }));

/** The version that all tensors agree on. */
function versionOf(read: (name: string) => Uint8Array): number {
  const bytes = ['weight', 'moment'].flatMap((name, index) => [...read(name)].map((byte) => byte - index));
  const [first = 0] = bytes;
  assert.ok(
    bytes.every((byte) => byte === first),
    'a mixture of two saves',
  );
  return first / 16;
}

function stateOf(version: number, step: number): RunState {
  const random = { cpu: Uint8Array.of(version) };
  return { step, data: { seed: 1, position: step * 8 }, random, model: null, extra: { version } };
}

function saveStep(fileSystem: FileSystem, path: string, version: number, step: number): void {
  saveCheckpoint(
    path,
    { state: stateOf(version, step), tensors: tensors(version).map(wholePiece) },
    fileSystem,
  );
}

/** What two ranks do together, each with half of every tensor, when only two checkpoints may stay. */
function saveTogether(fileSystem: FileSystem, path: string, version: number): void {
  const step = version * 10;
  const draft = draftCheckpoint(path, `step-${step}`);
  const parts = [0, 1].map((rank) => {
    const sources = tensors(version).map(({ bytes, ...tensor }) => ({
      ...tensor,
      start: rank * 3,
      elements: 3,
      read: (target: Uint8Array, from: number) =>
        target.set(bytes.subarray((rank * 3 + from) * 4, (rank * 3 + from) * 4 + target.length)),
    }));
    return runPartTask(fileSystem, { draft, rank, sources });
  });
  const content = manifestContent(stateOf(version, step));
  runCommitTask(fileSystem, { draft, content, parts, retention: { keep: 2, inUse: [] } });
}

function checkpointVersion(path: string): number {
  const checkpoint = loadCheckpoint(path);
  if (checkpoint === undefined) return 0;
  const version = versionOf((name) => checkpoint.read(name).bytes());
  assert.deepEqual(checkpoint.state.extra, { version });
  assert.deepEqual([...(checkpoint.state.random.cpu ?? [])], [version]);
  return version;
}

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'a checkpoint after another': {
    place: 'run/checkpoints',
    save: (fileSystem, path, version) => saveStep(fileSystem, path, version, version * 10),
    version: checkpointVersion,
  },
  'the parts of two ranks, with old checkpoints that go': {
    place: 'run/checkpoints',
    save: (fileSystem, path, version) => {
      if (version === 1) for (const old of [0.1, 0.2]) saveTogether(fileSystem, path, old);
      saveTogether(fileSystem, path, version);
    },
    version: checkpointVersion,
  },
  'a checkpoint in the place of one of the same step': {
    place: 'run/checkpoints',
    save: (fileSystem, path, version) => saveStep(fileSystem, path, version, 10),
    version: checkpointVersion,
  },
  'a checkpoint of an earlier step, after going back': {
    place: 'run/checkpoints',
    save: (fileSystem, path, version) => saveStep(fileSystem, path, version, 30 - version * 10),
    version: checkpointVersion,
  },
  'a model in the place of another with other files': {
    place: 'run',
    save: (fileSystem, path, version) => {
      const config = { model_type: 'llama', version };
      const maximumShardBytes = version === 1 ? 24 : 1000;
      saveModelFolder(path, { config, tensors: tensors(version), maximumShardBytes }, fileSystem);
    },
    version: (path) => {
      checkForOtherPrograms(path);
      const model = openModelFolder(path);
      const version = versionOf((name) => model.read(name).bytes);
      assert.equal(model.config.version, version);
      return version;
    },
  },
};

/** A program that does not know where we keep a model while it is published finds it whole or not at all. */
function checkForOtherPrograms(path: string): void {
  if (!existsSync(join(path, 'config.json'))) return;
  const hidden = readdirSync(path).filter((name) => name.startsWith('.'));
  for (const name of hidden) renameSync(join(path, name), `${path}-${name}`);
  const model = openModelFolder(path);
  assert.equal(
    versionOf((name) => model.read(name).bytes),
    model.config.version,
  );
  assert.ok(model.companionFiles.has('generation_config.json'));
  for (const name of hidden) renameSync(`${path}-${name}`, join(path, name));
}

/** A disk with the first save on it, and the number of operations that the second takes. */
function afterFirstSave({ save, place }: Scenario): {
  readonly disk: SimulatedDisk;
  readonly operations: number;
} {
  const rehearsal = new SimulatedDisk();
  save(rehearsal, `/${place}`, 1);
  const before = rehearsal.operations;
  save(rehearsal, `/${place}`, 2);
  const disk = new SimulatedDisk();
  save(disk, `/${place}`, 1);
  return { disk, operations: rehearsal.operations - before };
}

/** Saves the second time on a disk that stops before operation `n`; whether the save was acknowledged. */
function saveUntilCrash(scenario: Scenario, disk: SimulatedDisk, n: number): boolean {
  disk.crashBefore(n);
  try {
    scenario.save(disk, `/${scenario.place}`, 2);
    return true;
  } catch (error) {
    assert.ok(error instanceof SimulatedCrash, String(error));
    return false;
  }
}

/** What is left behind must hold one whole save, and the next save must work and clear up. */
function checkRemains(scenario: Scenario, remains: string, acknowledged: boolean): number {
  const path = join(remains, scenario.place);
  const version = scenario.version(path);
  assert.ok(version === 2 || (version === 1 && !acknowledged), `version ${version}`);
  return version;
}

function checkNextSave(scenario: Scenario, remains: string): void {
  const path = join(remains, scenario.place);
  scenario.save(unsynced, path, 2);
  assert.equal(scenario.version(path), 2);
  const left = readdirSync(path, { recursive: true, encoding: 'utf8' });
  assert.deepEqual(
    left.filter((name) => /\.tmp-|\.old-|\.model-/.test(name)),
    [],
  );
}

for (const [what, scenario] of Object.entries(SCENARIOS)) {
  const { operations } = afterFirstSave(scenario);

  test(`killed before each of the ${operations} operations of saving ${what}`, () => {
    const seen = new Set<number>();
    for (let n = 1; n <= operations + 1; n += 1) {
      const { disk } = afterFirstSave(scenario);
      const acknowledged = saveUntilCrash(scenario, disk, n);
      assert.equal(acknowledged, n === operations + 1);
      const remains = newRemains();
      disk.afterKill(remains);
      seen.add(checkRemains(scenario, remains, acknowledged));
      checkNextSave(scenario, remains);
    }
    assert.deepEqual(seen, new Set([1, 2]));
  });

  test(`power lost before each of the ${operations} operations of saving ${what}`, () => {
    for (let n = 1; n <= operations + 1; n += 1) {
      for (let loss = 0; loss < POWER_LOSSES; loss += 1) {
        const { disk } = afterFirstSave(scenario);
        const acknowledged = saveUntilCrash(scenario, disk, n);
        const remains = newRemains();
        disk.afterPowerLoss(remains, chanceOf(n * 1000 + loss));
        checkRemains(scenario, remains, acknowledged);
        if (loss === 0) checkNextSave(scenario, remains);
        rmSync(remains, { recursive: true });
      }
    }
  });

  for (const [code, said] of Object.entries(FAILURES)) {
    test(`${code} at each of the ${operations} operations of saving ${what}`, () => {
      let failures = 0;
      for (let n = 1; n <= operations; n += 1) {
        const { disk } = afterFirstSave(scenario);
        disk.failOnceAt(n, code);
        const isReported = (error: unknown): boolean =>
          error instanceof TrainyardError &&
          error.code === 'OUTPUT_UNWRITABLE' &&
          error.report.got === said &&
          error.report.where?.includes(scenario.place) === true;
        let isSaved = true;
        try {
          scenario.save(disk, `/${scenario.place}`, 2);
        } catch (error) {
          assert.ok(isReported(error), String(error));
          isSaved = false;
          failures += 1;
        }
        const remains = newRemains();
        disk.afterKill(remains);
        checkRemains(scenario, remains, isSaved);
        scenario.save(disk, `/${scenario.place}`, 2);
        const repaired = newRemains();
        disk.afterKill(repaired);
        checkRemains(scenario, repaired, true);
      }
      // What cannot be removed any more is no reason to call a save a failure.
      assert.ok(failures >= operations - 20, `${failures} of ${operations}`);
    });
  }
}

test('a disk without room is found before anything is written, with the bytes that are needed', () => {
  const disk = new SimulatedDisk();
  saveStep(disk, '/run', 1, 10);
  const before = disk.operations;
  disk.freeBytesLeft = 1_000_000;
  assert.throws(
    () => saveStep(disk, '/run', 2, 20),
    (error) =>
      error instanceof TrainyardError &&
      error.code === 'OUTPUT_UNWRITABLE' &&
      error.report.where === '/run' &&
      error.report.expected === `${48 + 1024 * 1024} bytes free` &&
      error.report.got === '1000000 bytes free',
  );
  assert.equal(disk.operations, before);
});

test('a part that rank 0 cannot see keeps the checkpoint from being committed', () => {
  const disk = new SimulatedDisk();
  const draft = draftCheckpoint('/run', 'step-1');
  const part = runPartTask(disk, { draft, rank: 0, sources: tensors(1).map(wholePiece) });
  disk.remove(`${draft.folder}/${part.file.name}`);
  assert.throws(
    () => runCommitTask(disk, { draft, content: manifestContent(stateOf(1, 1)), parts: [part] }),
    (error) => error instanceof TrainyardError && /file system that all hosts share/.test(error.message),
  );
});

function newRemains(): string {
  count += 1;
  return join(root, String(count));
}
