import { join } from 'node:path';
import { TrainyardError } from '../base/errors.js';
import { printable } from '../base/printable.js';
import type { DType } from '../tensor/dtype.js';
import type { Manifest } from './checkpoint/manifest.js';
import { DamagedCheckpoint, listCandidates, type VerifiedTensors, verify } from './checkpoint/read.js';
import { checkTag, tagOfStep } from './checkpoint/tag.js';
import { beginCheckpoint, commitCheckpoint, writePart } from './checkpoint/write.js';
import { removeQuietly, reportingWriteErrors } from './durable.js';
import { type FileSystem, nodeFileSystem } from './file-system.js';
import type { TensorSource } from './safetensors/write.js';

/** A value that JSON can say. */
export type JsonValue =
  | null
  | boolean
  | number
  | string
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** Where a run stands between two steps: all that its continuation depends on besides tensors. */
export interface RunState {
  /** Optimizer steps done. */
  readonly step: number;
  /** The order of the data and how much of it has been used. */
  readonly data: { readonly seed: number; readonly position: number };
  /** The states of random generators, by names that the engine gives them. */
  readonly random: Readonly<Record<string, Uint8Array>>;
  /** What else the engine wants back: loss scale, settings that must agree. */
  readonly extra: Readonly<Record<string, JsonValue>>;
}

/** What a checkpoint is made of. */
export interface CheckpointContent {
  readonly state: RunState;
  /** Parameters and optimizer moments, each under a name of its own. */
  readonly tensors: Iterable<TensorSource>;
  /** Default `step-N`. */
  readonly tag?: string;
}

/** A checkpoint of which every byte was found to be what was saved. */
export interface LoadedCheckpoint {
  readonly tag: string;
  readonly state: RunState;
  readonly names: readonly string[];
  /** A tensor's bytes without a copy, to be read only. */
  read(name: string): {
    readonly dtype: DType;
    readonly shape: readonly number[];
    readonly bytes: Uint8Array;
  };
  /** Checkpoints that were passed over although they are newer, or may be, and why: a warning to print. */
  readonly passedOver: readonly { readonly tag: string; readonly reason: string }[];
}

/**
 * Saves a checkpoint in `directory` and returns its folder. When this returns it survives the end of the
 * process, and of the machine where the disk honours fsync; until then, every older checkpoint does.
 *
 * @throws TrainyardError OUTPUT_UNWRITABLE; CHECKPOINT_INVALID for an impossible tag
 */
export function saveCheckpoint(
  directory: string,
  { state, tensors, tag: givenTag }: CheckpointContent,
  fileSystem: FileSystem = nodeFileSystem,
): string {
  const tag = checkTag(givenTag ?? tagOfStep(state.step));
  return reportingWriteErrors('The checkpoint', join(directory, tag), () => {
    const draft = beginCheckpoint(fileSystem, directory, tag);
    try {
      const part = writePart(fileSystem, draft, 0, tensors);
      const manifest: Manifest = {
        format: 'trainyard-checkpoint',
        version: 1,
        tag,
        serial: draft.serial,
        step: state.step,
        data: { ...state.data },
        random: mapValues(state.random, (bytes) => Buffer.from(bytes).toString('base64')),
        extra: state.extra as Manifest['extra'],
        files: [part.file],
        tensors: [...part.tensors],
      };
      commitCheckpoint(fileSystem, draft, manifest);
    } catch (error) {
      removeQuietly(fileSystem, draft.folder);
      throw error;
    }
    return join(directory, tag);
  });
}

/**
 * Loads the last committed checkpoint that is whole, or the one named by `tag`. Every byte is checked before
 * this returns. Without any checkpoint in `directory`: undefined.
 *
 * @throws TrainyardError CHECKPOINT_INVALID when the named one is missing or damaged, or all are
 */
export function loadCheckpoint(
  directory: string,
  options: { readonly tag?: string } = {},
): LoadedCheckpoint | undefined {
  const wanted = options.tag === undefined ? undefined : checkTag(options.tag);
  const candidates = listCandidates(directory).filter(({ tag }) => wanted === undefined || tag === wanted);
  const passedOver: { readonly tag: string; readonly reason: string }[] = [];
  // Without its manifest a checkpoint has no age: it comes last, but may well be the newest.
  const illegible = candidates.flatMap(({ tag, manifest, reason = '' }) =>
    manifest === undefined ? [{ tag, reason: printable(reason) }] : [],
  );
  for (const candidate of candidates) {
    try {
      return loaded(verify(candidate), [...passedOver, ...illegible]);
    } catch (error) {
      if (!(error instanceof DamagedCheckpoint)) throw error;
      passedOver.push({ tag: candidate.tag, reason: printable(error.message) });
    }
  }
  if (candidates.length === 0 && wanted === undefined) return undefined;
  throw noneUsable(directory, wanted, passedOver);
}

function loaded(
  { manifest, files }: VerifiedTensors,
  passedOver: LoadedCheckpoint['passedOver'],
): LoadedCheckpoint {
  const records = new Map(manifest.tensors.map((record) => [record.name, record]));
  return {
    tag: manifest.tag,
    state: {
      step: manifest.step,
      data: manifest.data,
      random: mapValues(manifest.random, (text) => new Uint8Array(Buffer.from(text, 'base64'))),
      extra: manifest.extra,
    },
    names: [...records.keys()],
    read(name) {
      const record = records.get(name);
      const file = files.get(record?.file ?? '');
      if (record === undefined || file === undefined) {
        throw new TrainyardError('CHECKPOINT_INVALID', {
          what: 'The checkpoint lacks a tensor: it is that of another model or optimizer.',
          where: manifest.tag,
          expected: name,
        });
      }
      return { dtype: record.dtype, shape: record.shape, bytes: file.bytes(name) };
    },
    passedOver,
  };
}

function noneUsable(
  directory: string,
  wanted: string | undefined,
  passedOver: LoadedCheckpoint['passedOver'],
): TrainyardError {
  const reasons = passedOver.map(({ tag, reason }) => `${tag}: ${reason}`);
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: wanted === undefined ? 'No checkpoint can be used.' : `The checkpoint ${wanted} cannot be used.`,
    where: directory,
    got: reasons.length === 0 ? 'no checkpoint of this name' : reasons.join('\n            '),
    cure: 'Restore the folder from a copy, name another checkpoint, or start anew in another output folder.',
  });
}

function mapValues<From, To>(
  record: Readonly<Record<string, From>>,
  change: (value: From) => To,
): Record<string, To> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}
