import { printable } from '../../base/printable.js';
import { type Candidate, listCandidates, verify } from '../../store/checkpoint/read.js';
import { damageOf } from '../../store/checkpoint.js';
import { nothingThere, placeOfCheckpoints } from './open.js';

/** A checkpoint as a list shows it. */
export interface CheckpointSummary {
  readonly tag: string;
  readonly folder: string;
  /** Absent where there is no readable manifest, with what is known. */
  readonly step?: number;
  /** Of how many ranks. */
  readonly parts?: number;
  readonly tensors?: number;
  readonly bytes?: number;
  /** What is wrong with it, as far as was looked. */
  readonly damage?: string;
}

/**
 * The checkpoints at a path, the last committed first, as their manifests say.
 *
 * @throws TrainyardError CHECKPOINT_INVALID where there is none
 */
export function listCheckpoints(path: string): readonly CheckpointSummary[] {
  return candidatesAt(path).map((candidate) => summary(candidate, candidate.reason));
}

/**
 * As `listCheckpoints`, with every byte checked, one checkpoint at a time.
 *
 * @throws TrainyardError CHECKPOINT_INVALID where there is none
 */
export function* verifyCheckpoints(path: string): Generator<CheckpointSummary> {
  for (const candidate of candidatesAt(path)) yield summary(candidate, damageIn(candidate));
}

function candidatesAt(path: string): readonly Candidate[] {
  const { directory, tag } = placeOfCheckpoints(path);
  const candidates = listCandidates(directory).filter((each) => tag === undefined || each.tag === tag);
  if (candidates.length === 0) throw nothingThere(path, 'no checkpoint');
  return candidates;
}

function damageIn(candidate: Candidate): string | undefined {
  try {
    verify(candidate);
    return undefined;
  } catch (error) {
    return damageOf(error);
  }
}

function summary({ tag, folder, manifest }: Candidate, damage: string | undefined): CheckpointSummary {
  return {
    tag,
    folder,
    ...(manifest && {
      step: manifest.step,
      parts: manifest.files.length,
      tensors: manifest.tensors.length,
      bytes: manifest.files.reduce((sum, { byteLength }) => sum + byteLength, 0),
    }),
    ...(damage !== undefined && { damage: printable(damage) }),
  };
}
