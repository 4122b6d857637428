import { TrainyardError } from '../base/errors.js';
import { type BatchSlice, type BatchSource, createBatchSource } from './batch-source.js';
import type { DataConfig } from './config.js';
import { DocumentDataset } from './document-dataset.js';
import { PackedDataset } from './packed-dataset.js';
import { createSampler } from './sampler.js';
import type { SequenceDataset } from './sequence-dataset.js';
import { listFiles } from './source/list-files.js';
import { fileFormat } from './source/read-documents.js';
import { openTokenCache } from './token-cache.js';
import type { TokenStore } from './token-store.js';
import { hasTokenizer, loadTokenizer } from './tokenizer/load-tokenizer.js';
import type { Tokenizer } from './tokenizer.js';

/** What the data of a run depends on besides its own configuration. */
export interface DataContext {
  /** What relative paths are relative to. */
  readonly baseDirectory: string;
  /** Where tokenized text is kept, shared by all runs: entries are found by their content. */
  readonly cacheDirectory: string;
  /** The model's folder, whose tokenizer serves when `data.tokenizer` is left out. */
  readonly modelDirectory: string | undefined;
  /** The model's `vocab_size`: every id has to be below. */
  readonly vocabularySize: number;
  /** Used when `data.sequence_length` is left out. */
  readonly defaultSequenceLength: number;
  /** The longest sequence that the model takes; absent when it takes any. */
  readonly maximumSequenceLength?: number | undefined;
  readonly seed: number;
}

/** What the batches of a run depend on besides seed and batch size, by the keys of the configuration. */
export interface DataIdentity {
  /** A digest of the contents of the files and of the tokenizer. */
  readonly path: string;
  readonly sequence_length: number;
  readonly pack: boolean;
  readonly shuffle: boolean;
}

/** A corpus, tokenized and cut into sequences. */
export interface OpenedDataset {
  readonly dataset: SequenceDataset;
  readonly tokenizer: Tokenizer | undefined;
  readonly store: TokenStore;
  /** The files read, in order. */
  readonly files: readonly string[];
  readonly identity: DataIdentity;
  /** What the person should know: a sentence each. */
  readonly warnings: readonly string[];
  /** The part of every batch that a rank works on. */
  batches(slice: BatchSlice): BatchSource;
}

/**
 * Opens the data of a run: lists the files, tokenizes them or finds them in the cache, and cuts sequences.
 *
 * Packing and shuffling are on for text and messages and off for ready `input_ids`, unless the configuration says
 * otherwise.
 *
 * @throws DATA_UNREADABLE, DATA_INVALID, TOKENIZER_INVALID or OUTPUT_UNWRITABLE, each with its place;
 *   CONFIG_CONFLICT for sequences longer than the model takes.
 */
export async function openDataset(config: DataConfig, context: DataContext): Promise<OpenedDataset> {
  refuseLongSequences(config.sequence_length, context.maximumSequenceLength);
  const paths = typeof config.path === 'string' ? [config.path] : config.path;
  const files = listFiles(paths, context.baseDirectory);
  const tokenizer = openTokenizer(config.tokenizer, context);
  const fits = (): void => refuseUnfitTokenizer(tokenizer, context.vocabularySize);
  // Known before the work of tokenizing, unless the rows may turn out to be ready ids.
  if (config.tokenizer !== undefined || files.some((file) => fileFormat(file) === 'text')) fits();
  const corpus = { files, textField: config.text_field, tokenizer };
  const store = await openTokenCache(corpus, context.cacheDirectory);
  if (store.kind !== 'input_ids') fits();
  refuseLargeIds(store, context.vocabularySize);

  const isText = store.kind !== 'input_ids';
  const packed = config.pack ?? isText;
  const shuffled = config.shuffle ?? isText;
  const paddingId = tokenizer?.special.padding ?? tokenizer?.special.end ?? 0;
  const sequenceLength = config.sequence_length ?? lengthLeftOpen(isText || packed, context);
  const dataset = packed
    ? new PackedDataset(store, sequenceLength)
    : new DocumentDataset(store, sequenceLength, paddingId);
  return {
    dataset,
    tokenizer,
    store,
    files,
    identity: {
      path: store.key,
      sequence_length: dataset.sequenceLength,
      pack: packed,
      shuffle: shuffled,
    },
    warnings: config.sequence_length === undefined ? cutWarnings(dataset) : [],
    batches: (slice) =>
      createBatchSource(dataset, createSampler(dataset.length, shuffled ? context.seed : undefined), slice),
  };
}

function openTokenizer(specification: string | undefined, context: DataContext): Tokenizer | undefined {
  if (specification !== undefined) return loadTokenizer(specification, context.baseDirectory);
  const { modelDirectory } = context;
  if (modelDirectory === undefined || !hasTokenizer(modelDirectory)) return undefined;
  return loadTokenizer(modelDirectory, context.baseDirectory);
}

/** Ready ids were made as long as they are meant to be; they are cut only where the model takes no more. */
function lengthLeftOpen(isCutToFit: boolean, context: DataContext): number {
  if (isCutToFit) return context.defaultSequenceLength;
  return context.maximumSequenceLength ?? Number.POSITIVE_INFINITY;
}

/** Nobody asked for the cut. */
function cutWarnings(dataset: PackedDataset | DocumentDataset): readonly string[] {
  if (dataset instanceof PackedDataset || dataset.cutDocuments === 0) return [];
  const { cutDocuments: cut, length, sequenceLength } = dataset;
  return [
    `${cut} of ${length} documents are longer than ${sequenceLength} tokens, and are cut there: ` +
      'data.sequence_length says where',
  ];
}

function refuseLongSequences(sequenceLength: number | undefined, maximum: number | undefined): void {
  if (sequenceLength === undefined || maximum === undefined || sequenceLength <= maximum) return;
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: 'The sequences are longer than the model takes.',
    where: 'data.sequence_length',
    expected: `at most ${maximum} tokens, the positions of the model`,
    got: `${sequenceLength}`,
  });
}

function refuseUnfitTokenizer(tokenizer: Tokenizer | undefined, vocabularySize: number): void {
  if (tokenizer === undefined || tokenizer.vocabularySize <= vocabularySize) return;
  throw new TrainyardError('TOKENIZER_INVALID', {
    what: 'The tokenizer does not fit the model.',
    where: 'data.tokenizer',
    expected: `ids below the model's vocab_size, ${vocabularySize}`,
    got: `ids up to ${tokenizer.vocabularySize - 1}`,
    cure: `Use the model's own tokenizer, or a model with vocab_size ${tokenizer.vocabularySize} or more.`,
  });
}

function refuseLargeIds(store: TokenStore, vocabularySize: number): void {
  if (store.largestId < vocabularySize) return;
  throw new TrainyardError('DATA_INVALID', {
    what: 'An id lies outside the vocabulary of the model.',
    where: store.largestIdPlace,
    expected: `ids below vocab_size, ${vocabularySize}`,
    got: `${store.largestId}`,
    cure: 'Use the model that the ids were made for.',
  });
}
