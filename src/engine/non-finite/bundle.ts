import { join } from 'node:path';
import { z } from 'zod';
import { TrainyardError } from '../../base/errors.js';
import type { MicroBatchData } from '../../data/batch-source.js';
import { replaceFile, reportingWriteErrors } from '../../store/durable.js';
import { nodeFileSystem } from '../../store/file-system.js';
import { readSmallFile } from '../../store/open-file.js';
import { bytesIn, StrictJsonReader } from '../../store/strict-json.js';

/** Written last: a folder with this file is a whole bundle. */
const BUNDLE_FILE = 'bundle.json';
const MODEL_FOLDER = 'model';

const LARGEST_FILE = 256 * 1024 * 1024;
const MOST_RANKS = 65_536;
const MOST_TOKENS = 16 * 1024 * 1024;

const text = z.string().max(4096);
const count = z.int().min(0);
const ids = z.array(z.int().min(-100)).max(MOST_TOKENS).readonly();

const microBatchSchema = z.strictObject({
  rows: count.min(1),
  /** Of each row. */
  length: count.min(1),
  /** The numbers of the rows in the dataset; none where the batch came from a program. */
  samples: z.array(count).max(MOST_TOKENS).readonly(),
  /** [rows × length] */
  input_ids: ids,
  /** [rows × length], −100 where there is no target. */
  labels: ids,
});

const findingSchema = z.strictObject({
  rank: count.optional(),
  kind: z.enum(['parameter', 'output', 'gradient']),
  module: text,
  tensor: text,
  value: z.enum(['NaN', 'infinity']),
  elements: count,
  block: count.optional(),
  micro: count.optional(),
  position: count.optional(),
  instruction: text.optional(),
});

const rankSchema = z.strictObject({
  /** Base64 of the generator's state before the step. */
  random: z.base64().max(1024 * 1024),
  /** The place along the data axis whose sequences these are; absent where another rank has the same. */
  data: count.optional(),
  micro_batches: z.array(microBatchSchema).max(MOST_RANKS).readonly(),
});

const bundleSchema = z.strictObject({
  format: z.literal('trainyard-non-finite'),
  version: z.literal(1),
  step: count.min(1),
  decision: z.enum(['stop', 'skip', 'rewind']),
  /** Numbers that are not finite have no form in JSON. */
  loss: text,
  gradient_norm: text,
  /** The factor on each token's loss in the step; of fp16 the loss scale is a part of it. */
  loss_factor: z.number().gt(0),
  loss_scale: z.number().gt(0),
  /** What was first not finite of all that ranks computed by themselves. */
  first: findingSchema.optional(),
  /** Whether the numbers were finite when the step was computed a second time. */
  vanished: z.boolean(),
  precision: z.enum(['fp32', 'bf16', 'fp16']),
  /** What makes the run this run, by keys. */
  identity: z.record(text, z.json()),
  /** The run's configuration with nothing left open. */
  config: z.record(text, z.json()),
  found: z.array(findingSchema.nullable()).max(MOST_RANKS).readonly(),
  ranks: z.array(rankSchema).max(MOST_RANKS).readonly(),
});

/** What a step was computed from, and what of it was not finite. */
export type Bundle = Readonly<Omit<z.output<typeof bundleSchema>, 'identity' | 'config'>> & {
  readonly identity: Readonly<Record<string, unknown>>;
  readonly config: Readonly<Record<string, unknown>>;
};
export type BundleRank = Readonly<z.output<typeof rankSchema>>;
type BundleMicroBatch = BundleRank['micro_batches'][number];

/** Where a bundle has the weights that the step was computed with. */
export function bundleModel(folder: string): string {
  return join(folder, MODEL_FOLDER);
}

/** @throws TrainyardError OUTPUT_UNWRITABLE */
export function writeBundle(folder: string, bundle: Bundle): void {
  const path = join(folder, BUNDLE_FILE);
  reportingWriteErrors('The bundle of a step', path, () =>
    replaceFile(nodeFileSystem, path, (file) =>
      nodeFileSystem.write(file, Buffer.from(`${JSON.stringify(bundle)}\n`)),
    ),
  );
}

/**
 * Reads a bundle that nobody vouches for.
 *
 * @throws TrainyardError BUNDLE_INVALID
 */
export function readBundle(folder: string): Bundle {
  const path = join(folder, BUNDLE_FILE);
  const invalid = (got: string): TrainyardError =>
    new TrainyardError('BUNDLE_INVALID', {
      what: 'This is not the bundle of a step.',
      where: path,
      expected: 'a folder such as OUTPUT/non-finite/step-12, as a run has written it',
      got,
    });
  try {
    const content = readSmallFile(path, LARGEST_FILE);
    scan(content);
    const parsed = bundleSchema.safeParse(JSON.parse(Buffer.from(content).toString()));
    if (!parsed.success) throw new Error(parsed.error.issues.slice(0, 3).map(issueText).join('; '));
    const odd = parsed.data.ranks.flatMap(({ micro_batches }) => micro_batches).find(isUneven);
    if (odd !== undefined) throw new Error(`ids that are not ${odd.rows} rows of ${odd.length}`);
    return parsed.data;
  } catch (error) {
    throw invalid(error instanceof Error ? error.message : String(error));
  }
}

function issueText({ path, message }: z.core.$ZodIssue): string {
  return `${path.join('.')}: ${message}`;
}

/** Refuses what `JSON.parse` would let pass or choke on: keys that appear twice, nesting without end. */
function scan(content: Uint8Array): void {
  const json = new StrictJsonReader(bytesIn(content), LARGEST_FILE, (rule, got) => {
    throw new Error(got === undefined ? rule : `expected: ${rule}; got: ${got}`);
  });
  json.skipWhitespace();
  json.skipValue();
  json.readEnd();
}

function isUneven({ rows, length, input_ids, labels }: BundleMicroBatch): boolean {
  return input_ids.length !== rows * length || labels.length !== rows * length;
}

/** A micro-batch as a bundle has it. */
export function microBatchToSave(data: MicroBatchData): BundleMicroBatch {
  return {
    rows: data.rows,
    length: data.length,
    samples: data.sampleIndexes,
    input_ids: Array.from(data.inputIds, Number),
    labels: Array.from(data.labels, Number),
  };
}

/** And as a step takes it. */
export function microBatchOf({ rows, length, samples, input_ids, labels }: BundleMicroBatch): MicroBatchData {
  return {
    rows,
    length,
    sampleIndexes: samples,
    inputIds: BigInt64Array.from(input_ids, BigInt),
    labels: BigInt64Array.from(labels, BigInt),
    targetTokens: labels.filter((label) => label >= 0).length,
  };
}
