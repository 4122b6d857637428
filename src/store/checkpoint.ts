import { join } from 'node:path';
import { TrainyardError } from '../base/errors.js';
import type { JsonObject, JsonValue } from '../base/json-document.js';
import { printable } from '../base/printable.js';
import { DTYPES, type DType } from '../tensor/dtype.js';
import { demandSpace } from './checkpoint/demand-space.js';
import type { Manifest } from './checkpoint/manifest.js';
import { elementsIn, pieceName, readElements } from './checkpoint/pieces.js';
import { type Candidate, DamagedCheckpoint, listCandidates, openParts, verify } from './checkpoint/read.js';
import { nextSerial } from './checkpoint/retention.js';
import { checkTag, tagOfStep } from './checkpoint/tag.js';
import {
  clearRemains,
  commitCheckpoint,
  draftCheckpoint,
  type ManifestContent,
  type PieceSource,
  writePart,
} from './checkpoint/write.js';
import { removeQuietly, reportingWriteErrors } from './durable.js';
import { type FileSystem, nodeFileSystem } from './file-system.js';

export type { JsonValue } from '../base/json-document.js';

/** Where a run stands between two steps: all that its continuation depends on besides tensors. */
export interface RunState {
  /** Optimizer steps done. */
  readonly step: number;
  /** The order of the data and how much of it has been used. */
  readonly data: { readonly seed: number; readonly position: number };
  /** The states of random generators, by names that the engine gives them. */
  readonly random: Readonly<Record<string, Uint8Array>>;
  /** The model's configuration in Hugging Face's fields; null where nobody knows it. */
  readonly model: JsonObject | null;
  /** What else the engine wants back: loss scale, settings that must agree. */
  readonly extra: Readonly<Record<string, JsonValue>>;
}

/** What a checkpoint is made of. */
export interface CheckpointContent {
  readonly state: RunState;
  /** Parameters and optimizer moments, each under a name of its own. */
  readonly tensors: readonly PieceSource[];
  /** Default `step-N`. */
  readonly tag?: string;
}

/** A logical tensor of a checkpoint. */
export interface SavedTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Elements [from, from + count) in C order: without a copy where they lie side by side, to be read only. */
  bytes(from?: number, count?: number): Uint8Array;
}

/** A checkpoint of which every byte was found to be what was saved. */
export interface LoadedCheckpoint {
  readonly tag: string;
  readonly state: RunState;
  readonly names: readonly string[];
  /** @throws TrainyardError CHECKPOINT_INVALID when there is no such tensor */
  read(name: string): SavedTensor;
  /** Checkpoints that were passed over although they are newer, or may be, and why: a warning to print. */
  readonly passedOver: readonly PassedOver[];
}

/** A checkpoint that cannot be used, and why. */
export interface PassedOver {
  readonly tag: string;
  readonly reason: string;
}

/** What goes into a manifest. */
export function manifestContent(state: RunState): ManifestContent {
  const random = Object.entries(state.random).map(([name, bytes]) => [
    name,
    Buffer.from(bytes).toString('base64'),
  ]);
  // As JSON reads it back, so that what must be plain is.
  return JSON.parse(JSON.stringify({ ...state, random: Object.fromEntries(random) })) as ManifestContent;
}

/**
 * Saves a checkpoint in `directory`, all of it by this process, and returns its folder. When this returns it survives the
 * end of the process, and of the machine where the disk honours fsync; until then, every older checkpoint does.
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
    const draft = draftCheckpoint(directory, tag);
    try {
      clearRemains(fileSystem, directory);
      demandSpace(fileSystem, directory, bytesOf(tensors));
      const parts = [writePart(fileSystem, draft, 0, tensors)];
      const serial = nextSerial(listCandidates(directory, fileSystem));
      commitCheckpoint(fileSystem, draft, serial, manifestContent(state), parts);
    } catch (error) {
      removeQuietly(fileSystem, draft.folder);
      throw error;
    }
    return join(directory, tag);
  });
}

/** Of tensors as they will be written. */
export function bytesOf(pieces: readonly PieceSource[]): number {
  return pieces.reduce((sum, { elements, dtype }) => sum + elements * DTYPES[dtype].bytes, 0);
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
  return firstUsable(directory, checkpointsToTry(directory, options.tag), (candidate) => {
    try {
      verify(candidate);
      return undefined;
    } catch (error) {
      return damageOf(error);
    }
  });
}

/** What may be loaded, in this order. */
export interface CheckpointsToTry {
  readonly wanted: string | undefined;
  readonly candidates: readonly Candidate[];
}

/** @throws TrainyardError CHECKPOINT_INVALID for an impossible tag */
export function checkpointsToTry(directory: string, tag: string | undefined): CheckpointsToTry {
  const wanted = tag === undefined ? undefined : checkTag(tag);
  const candidates = listCandidates(directory).filter((each) => wanted === undefined || each.tag === wanted);
  return { wanted, candidates };
}

/** What is wrong with a checkpoint, from the error that said so; other errors go on. */
export function damageOf(error: unknown): string {
  if (error instanceof DamagedCheckpoint) return printable(error.message);
  throw error;
}

/**
 * Opens the first of the candidates that nothing is found wrong with.
 *
 * @param examine says what is wrong with one; ranks that share the work must all say the same
 * @returns undefined where there are none at all
 * @throws TrainyardError CHECKPOINT_INVALID where none can be used
 */
export function firstUsable(
  directory: string,
  { candidates, wanted }: CheckpointsToTry,
  examine: (candidate: Candidate) => string | undefined,
): LoadedCheckpoint | undefined {
  const passedOver: PassedOver[] = [];
  // Without its manifest a checkpoint has no age: it comes last, but may well be the newest.
  const illegible = candidates.flatMap(({ tag, manifest, reason = '' }) =>
    manifest === undefined ? [{ tag, reason: printable(reason) }] : [],
  );
  for (const candidate of candidates) {
    const { tag, manifest } = candidate;
    const damage = examine(candidate);
    if (damage !== undefined) passedOver.push({ tag, reason: damage });
    else if (manifest !== undefined) return opened(candidate, manifest, [...passedOver, ...illegible]);
  }
  if (candidates.length === 0 && wanted === undefined) return undefined;
  throw noneUsable(directory, wanted, passedOver);
}

/** A checkpoint that was verified. */
function opened(
  candidate: Candidate,
  manifest: Manifest,
  passedOver: readonly PassedOver[],
): LoadedCheckpoint {
  const parts = openParts(candidate, manifest);
  const records = new Map(manifest.tensors.map((record) => [record.name, record]));
  const random = Object.entries(manifest.random).map(([name, text]) => [
    name,
    new Uint8Array(Buffer.from(text, 'base64')),
  ]);
  const { tag, step, data, model, extra } = manifest;
  return {
    tag,
    state: { step, data, random: Object.fromEntries(random), model, extra },
    names: [...records.keys()],
    read(name) {
      const record = records.get(name);
      if (record === undefined) throw lacksTensor(tag, name);
      const { dtype, shape } = record;
      const all = elementsIn(shape);
      const bytesOf = (piece: (typeof record.pieces)[number]): Uint8Array =>
        parts.get(piece.file)?.bytes(pieceName(record, piece)) ?? new Uint8Array(0);
      return {
        dtype,
        shape,
        bytes: (from = 0, count = all) => readElements(record, DTYPES[dtype].bytes, bytesOf, from, count),
      };
    },
    passedOver,
  };
}

function lacksTensor(tag: string, name: string): TrainyardError {
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: 'The checkpoint lacks a tensor: it is that of another model or optimizer.',
    where: tag,
    expected: name,
  });
}

function noneUsable(
  directory: string,
  wanted: string | undefined,
  passedOver: readonly PassedOver[],
): TrainyardError {
  const reasons = passedOver.map(({ tag, reason }) => `${tag}: ${reason}`);
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: wanted === undefined ? 'No checkpoint can be used.' : `The checkpoint ${wanted} cannot be used.`,
    where: directory,
    got: reasons.length === 0 ? 'no checkpoint of this name' : reasons.join('\n            '),
    cure: 'Restore the folder from a copy, name another checkpoint, or start anew in another output folder.',
  });
}
