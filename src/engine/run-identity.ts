import { TrainyardError } from '../base/errors.js';
import type { DataIdentity } from '../data/open-dataset.js';
import { configToSave } from '../models/registry.js';
import type { JsonValue, LoadedCheckpoint } from '../store/checkpoint.js';
import { inBothForms } from '../store/hugging-face/config-forms.js';
import type { ResolvedConfig } from './config.js';
import type { ModelSource } from './model-source.js';

/**
 * The settings that make a run this run and no other, by their keys: with a different one, going on from its checkpoint
 * would be neither the old run nor a new one. Learning rates, schedules and the number of ranks may change.
 */
export type RunIdentity = Readonly<Record<string, JsonValue>>;

/** Fields of a Hugging Face configuration that say nothing of what the model computes. */
const INSIGNIFICANT = /^_|^(?:transformers_version|dtype|torch_dtype|use_cache|architectures)$/;

/** @param data absent where batches come from the caller */
export function runIdentity(
  config: ResolvedConfig,
  source: ModelSource,
  data: DataIdentity | undefined,
): RunIdentity {
  const fields = inBothForms(configToSave(source.model, 'float32'));
  const model = Object.entries(fields).filter(([name]) => !INSIGNIFICANT.test(name));
  return {
    seed: config.seed,
    train_batch_size: config.train_batch_size,
    'optimizer.type': updateRule(config.optimizer),
    ...freezeStep(config.optimizer),
    ...prefixed('model', model as [string, JsonValue][]),
    adapter: adapterIdentity(source),
    ...prefixed('data', Object.entries(data ?? {})),
  };
}

function adapterIdentity({ adapter }: ModelSource): JsonValue {
  if (adapter === undefined) return 'none';
  const { rank, alpha, dropout } = adapter.options;
  return { rank, alpha, dropout, targets: adapter.targets };
}

/** Adam that decays weights directly is AdamW by another name. */
function updateRule({ type, params }: ResolvedConfig['optimizer']): string {
  return type === 'Adam' && 'adam_w_mode' in params && params.adam_w_mode ? 'AdamW' : type;
}

/** When a second moment froze is a part of what it is. */
function freezeStep({ type, params }: ResolvedConfig['optimizer']): RunIdentity {
  return type === 'OneBitAdam' ? { 'optimizer.params.freeze_step': params.freeze_step } : {};
}

function prefixed(group: string, entries: readonly (readonly [string, JsonValue])[]): RunIdentity {
  return Object.fromEntries(entries.map(([name, value]) => [`${group}.${name}`, value]));
}

const MOST_NAMED = 5;

/**
 * Compares a checkpoint's run with this one. A group of settings that only one of them knows is passed over.
 *
 * @throws TrainyardError CONFIG_CONFLICT naming the keys that differ, with both values
 */
export function demandSameRun({ tag, state }: LoadedCheckpoint, own: RunIdentity): void {
  const saved = settingsIn(state.extra);
  const groups = [saved, own].map((identity) => new Set(Object.keys(identity).map(groupOf)));
  const different = [...new Set([...Object.keys(saved), ...Object.keys(own)])].filter(
    (key) => groups.every((known) => known.has(groupOf(key))) && text(saved[key]) !== text(own[key]),
  );
  if (different.length === 0) return;
  const named = different.slice(0, MOST_NAMED);
  const more = different.length > MOST_NAMED ? ` and ${different.length - MOST_NAMED} more` : '';
  const list = (identity: RunIdentity) => named.map((key) => `${key} ${shown(identity[key])}`).join(', ');
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: 'The checkpoint is that of a run with other settings.',
    where: `${named.join(', ')}${more}`,
    expected: `${list(saved)}, as in the checkpoint ${tag}`,
    got: list(own),
    cure: 'Resume with the settings it was made with, or begin a new run from its model with another output.',
  });
}

/** What a checkpoint keeps of its run, for the comparison. */
export function identityToSave(identity: RunIdentity): Readonly<Record<string, JsonValue>> {
  return { settings: identity };
}

function settingsIn({ settings }: LoadedCheckpoint['state']['extra']): RunIdentity {
  const isRecord = typeof settings === 'object' && settings !== null && !Array.isArray(settings);
  return isRecord ? (settings as RunIdentity) : {};
}

function groupOf(key: string): string {
  return key.split('.')[0] ?? key;
}

/** Equal for equal values, in whatever order their keys were written. */
function text(value: JsonValue | undefined): string {
  return JSON.stringify(value, (_, each: unknown) =>
    typeof each === 'object' && each !== null && !Array.isArray(each)
      ? Object.fromEntries(Object.entries(each).sort(([left], [right]) => (left < right ? -1 : 1)))
      : each,
  );
}

const LONGEST_SHOWN = 60;

function shown(value: JsonValue | undefined): string {
  if (value === undefined) return '(none)';
  const whole = text(value);
  return whole.length <= LONGEST_SHOWN ? whole : `${whole.slice(0, LONGEST_SHOWN)}…`;
}
