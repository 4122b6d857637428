import { createHash } from 'node:crypto';
import { z } from 'zod';
import { DTYPES, type DType } from '../../tensor/dtype.js';

/** Written last: a folder with a manifest is a complete checkpoint, one without is nothing. */
export const MANIFEST_FILE = 'manifest.json';

/** Version 1 had whole tensors only, all written by the first rank. */
export const FORMAT_VERSION = 2;

const name = z.string().min(1).max(1024);
const count = z.int().min(0);
const crc32 = z.string().regex(/^[0-9a-f]{8}$/);
const partName = z.string().regex(/^part-\d{5}\.safetensors$/);

const selectionSchema = z.strictObject({
  dimension: count.max(63),
  /** First index and number of indices of each run. */
  runs: z.array(z.tuple([count, count])).max(4096),
});

const pieceSchema = z.strictObject({
  /** The part that holds it. */
  file: partName,
  /** Elements [start, start + elements) of the tensor, or of what is selected of it, in C order. */
  start: count,
  elements: count.min(1),
  crc32,
  /** What of the tensor its writer has; left out: all. */
  along: selectionSchema.optional(),
});

const tensorSchema = z.strictObject({
  name,
  dtype: z.enum(Object.keys(DTYPES) as [DType, ...DType[]]),
  shape: z.array(count).max(64),
  pieces: z.array(pieceSchema),
});

const fileSchema = z.strictObject({
  name: partName,
  /** The rank that wrote it. */
  rank: count,
  byteLength: count,
  /** Of all before the tensors' bytes. */
  headerCrc32: crc32,
});

const manifestSchema = z.strictObject({
  format: z.literal('trainyard-checkpoint'),
  version: z.literal(FORMAT_VERSION),
  tag: name,
  /** Grows by one from checkpoint to checkpoint, also where a run goes back to an earlier step. */
  serial: count,
  step: count,
  data: z.strictObject({ seed: count, position: count }),
  /** Base64 of each generator's state. */
  random: z.record(name, z.base64()),
  /** The model's configuration in Hugging Face's fields. */
  model: z.record(z.string(), z.json()).nullable(),
  extra: z.record(name, z.json()),
  files: z.array(fileSchema).max(100_000),
  tensors: z.array(tensorSchema),
});

/** What a checkpoint says of itself. */
export type Manifest = Readonly<z.output<typeof manifestSchema>>;

/** A logical tensor as a checkpoint records it. */
export type TensorRecord = Readonly<z.output<typeof tensorSchema>>;

/** A part of a logical tensor that one rank wrote. */
export type PieceRecord = Readonly<z.output<typeof pieceSchema>>;

/** Of one dimension of a tensor, the runs of indices that a rank has. */
export type Selection = Readonly<z.output<typeof selectionSchema>>;

export type FileRecord = Readonly<z.output<typeof fileSchema>>;

const envelopeSchema = z.strictObject({ sha256: z.string(), manifest: z.unknown() });

/** The manifest's file: the manifest and the checksum of its compact JSON. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  return Buffer.from(envelopeText({ sha256: checksum(manifest), manifest }));
}

/**
 * Reads a manifest's file.
 *
 * @throws Error saying in what way it is not a manifest
 */
export function decodeManifest(content: Uint8Array): Manifest {
  const text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(content);
  const envelope = envelopeSchema.parse(JSON.parse(text));
  if (checksum(envelope.manifest) !== envelope.sha256) throw new Error('its checksum is another');
  // Not even white space can change unnoticed.
  if (envelopeText(envelope) !== text) throw new Error('it is not as it was written');
  demandVersion(envelope.manifest);
  return manifestSchema.parse(envelope.manifest);
}

function envelopeText({ sha256, manifest }: z.output<typeof envelopeSchema>): string {
  return `${JSON.stringify({ sha256, manifest }, undefined, 1)}\n`;
}

function demandVersion(manifest: unknown): void {
  const isRecord = typeof manifest === 'object' && manifest !== null;
  const version = isRecord && 'version' in manifest ? manifest.version : undefined;
  if (version === FORMAT_VERSION) return;
  const which = typeof version === 'number' ? `it is of version ${version}` : 'it names no version';
  throw new Error(`${which}; this program reads version ${FORMAT_VERSION}`);
}

function checksum(manifest: unknown): string {
  return createHash('sha256')
    .update(JSON.stringify(manifest) ?? '')
    .digest('hex');
}
