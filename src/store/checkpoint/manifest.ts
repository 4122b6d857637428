import { createHash } from 'node:crypto';
import { z } from 'zod';
import { DTYPES, type DType } from '../../tensor/dtype.js';

/** Written last: a folder with a manifest is a complete checkpoint, one without is nothing. */
export const MANIFEST_FILE = 'manifest.json';

const name = z.string().min(1).max(1024);
const count = z.int().min(0);
const partName = z.string().regex(/^part-\d{5}\.safetensors$/);

const tensorSchema = z.strictObject({
  name,
  /** The part that holds it. */
  file: partName,
  dtype: z.enum(Object.keys(DTYPES) as [DType, ...DType[]]),
  shape: z.array(count).max(64),
  crc32: z.string().regex(/^[0-9a-f]{8}$/),
});

const manifestSchema = z.strictObject({
  format: z.literal('trainyard-checkpoint'),
  version: z.literal(1),
  tag: name,
  /** Grows by one from checkpoint to checkpoint, also where a run goes back to an earlier step. */
  serial: count,
  step: count,
  data: z.strictObject({ seed: count, position: count }),
  /** Base64 of each generator's state. */
  random: z.record(name, z.base64()),
  extra: z.record(name, z.json()),
  files: z.array(z.strictObject({ name: partName, byteLength: count })).max(100_000),
  tensors: z.array(tensorSchema),
});

/** What a checkpoint says of itself. */
export type Manifest = Readonly<z.output<typeof manifestSchema>>;

/** A tensor as a checkpoint records it. */
export type TensorRecord = Readonly<z.output<typeof tensorSchema>>;

const envelopeSchema = z.strictObject({ sha256: z.string(), manifest: z.unknown() });

/** The manifest's file: the manifest and the checksum of its compact JSON. */
export function encodeManifest(manifest: Manifest): Uint8Array {
  const envelope = { sha256: checksum(manifest), manifest };
  return Buffer.from(`${JSON.stringify(envelope, undefined, 1)}\n`);
}

/**
 * Reads a manifest's file.
 *
 * @throws Error saying in what way it is not a manifest
 */
export function decodeManifest(content: Uint8Array): Manifest {
  const text = new TextDecoder('utf-8', { fatal: true }).decode(content);
  const envelope = envelopeSchema.parse(JSON.parse(text));
  if (checksum(envelope.manifest) !== envelope.sha256) throw new Error('its checksum is another');
  return manifestSchema.parse(envelope.manifest);
}

function checksum(manifest: unknown): string {
  return createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
}
