import { isJsonObject, type JsonObject, type JsonPath, type JsonValue } from '../../base/json-document.js';
import { valueBelow } from '../../base/json-schema.js';
import { compressionOf } from '../../comm/config.js';
import { hasMomentum } from '../../optim/config.js';
import { precisionName, precisionOf } from '../../precision/config.js';
import { type BatchSizes, completeBatchSizes, isBatchConflict } from './batch-sizes.js';
import { checkSchema, related, withCanonicalNames } from './check.js';
import { compressionNotes } from './compression-rules.js';
import { delayedUpdateNotes } from './delayed-update-rules.js';
import { groupNotes } from './group-rules.js';
import { idleKeyNotes } from './idle-keys.js';
import { type ConfigIssue, errorOf } from './issue.js';
import { knownKeys } from './known-keys.js';
import { dataParallelSize, meshSetting } from './mesh-setting.js';
import { offloadNotes } from './offload-rules.js';
import { recomputePolicy } from './recompute-policy.js';
import { redundancyNotes } from './redundancy-rules.js';
import { redundancySetting } from './redundancy-setting.js';
import type { GivenValue, Surroundings } from './rule.js';
import { configRules, missingKeys } from './rules.js';
import type { CheckedConfig } from './schema.js';
import { judge } from './verdicts.js';

/** A type whose every part, however deep, is read-only. */
export type DeepReadonly<T> = T extends object ? { readonly [Key in keyof T]: DeepReadonly<T[Key]> } : T;

/** The same with every key there. */
type Certain<T> = { [Key in keyof T]-?: NonNullable<T[Key]> };

/**
 * A configuration with nothing left open, frozen: defaults filled in and the batch sizes worked out for one
 * number of data-parallel ranks. Keys keep the names that they have in the file, which are DeepSpeed's where
 * DeepSpeed has one. Each part takes its own slice; nobody takes the whole.
 */
export type ResolvedConfig = DeepReadonly<
  Omit<
    CheckedConfig,
    '$schema' | 'tensor_parallel' | 'communication' | 'communication_data_type' | keyof BatchSizes
  >
> &
  BatchSizes & {
    readonly communication: DeepReadonly<SettledCommunication>;
    /** Without the number of ranks, which `mesh` has. */
    readonly tensor_parallel: DeepReadonly<Omit<CheckedConfig['tensor_parallel'], 'autotp_size'>>;
  };

/** All of `communication` has a value but the topology, which the launcher may say. */
type SettledCommunication = Certain<Omit<CheckedConfig['communication'], 'topology'>> &
  Pick<CheckedConfig['communication'], 'topology'>;

/** What came of a configuration. */
export interface Resolution {
  readonly config: ResolvedConfig;
  /** What was accepted and does not act as it seems, one sentence each. */
  readonly notes: readonly string[];
}

/**
 * The one way from what was written to what is used: tables, schemas, rules, batch sizes, frozen.
 *
 * @throws TrainyardError with every issue found: CONFIG_INVALID, CONFIG_UNSUPPORTED, CONFIG_CONFLICT.
 */
export function resolve(written: JsonValue, surroundings: Surroundings): Resolution {
  const { origin } = surroundings;
  if (!isJsonObject(written)) {
    throw errorOf(
      [
        {
          code: 'CONFIG_INVALID',
          path: [],
          part: 'value',
          what: `${origin.name} is not an object.`,
          expected: 'a JSON object: { … }',
        },
      ],
      origin,
    );
  }
  const { config, issues, given } = findIssues(written, surroundings);
  if (issues.length > 0) throw errorOf(issues, origin);
  const sizes = completeBatchSizes(config, dataParallelSize(config, surroundings) ?? 1);
  if (isBatchConflict(sizes)) throw new Error(sizes.what);
  const {
    $schema: _schema,
    tensor_parallel: { autotp_size: _size, ...tensorParallel },
    communication,
    communication_data_type,
    ...rest
  } = config;
  // As in DeepSpeed, gradients travel as they were computed.
  const dtype = communication_data_type ?? precisionName(precisionOf(config));
  const resolved = {
    ...rest,
    tensor_parallel: tensorParallel,
    communication: { ...communication, compression: compressionOf({ ...communication, dtype }) },
    scheduler: settledSchedule(config),
    mesh: meshSetting(config),
    redundancy: redundancySetting(config),
    recompute: recomputePolicy(config),
    ...sizes,
  };
  const notes = [
    ...idleKeyNotes(config, given),
    ...redundancyNotes(config),
    ...groupNotes(config, surroundings),
    ...offloadNotes(config),
    ...delayedUpdateNotes(config),
    ...compressionNotes(config, surroundings),
  ];
  return { config: deepFreeze(resolved), notes };
}

function findIssues(
  written: JsonObject,
  surroundings: Surroundings,
): { config: CheckedConfig; issues: ConfigIssue[]; given: GivenValue } {
  const document = withCanonicalNames(written, knownKeys);
  const judged = judge(document, knownKeys);
  const checked = checkSchema(judged.value, knownKeys);
  const given: GivenValue = (path) => path.reduce<JsonValue | undefined>(valueBelow, judged.value);
  const explained = (path: JsonPath, issues: readonly ConfigIssue[]) =>
    issues.some((issue) => related(issue.path, path));
  const issues = [...judged.issues, ...checked.issues.filter(({ path }) => !explained(path, judged.issues))];
  const fromRules = configRules
    .filter(({ keys }) => !keys.some((key) => explained([key], issues)))
    .flatMap((rule) => rule.check(checked.config, surroundings, given) ?? []);
  const missing = missingKeys(checked.config, surroundings).filter(({ path }) => !explained(path, issues));
  return { config: checked.config, issues: [...issues, ...missing, ...fromRules], given };
}

/**
 * A schedule over the whole run takes its length from `steps`, unless it has one of its own; one that moves the momentum
 * leaves that where the optimizer has none.
 */
function settledSchedule({ scheduler, steps, optimizer }: CheckedConfig): CheckedConfig['scheduler'] {
  if (scheduler?.type === 'OneCycle') {
    const cycle_momentum = scheduler.params.cycle_momentum ?? hasMomentum(optimizer);
    return { ...scheduler, params: { ...scheduler.params, cycle_momentum } };
  }
  if (scheduler?.type !== 'WarmupDecayLR' && scheduler?.type !== 'WarmupCosineLR') return scheduler;
  const total_num_steps = scheduler.params.total_num_steps ?? steps;
  // Spelled out by type, since TypeScript does not carry a union's tag through a spread.
  return scheduler.type === 'WarmupDecayLR'
    ? { ...scheduler, params: { ...scheduler.params, total_num_steps } }
    : { ...scheduler, params: { ...scheduler.params, total_num_steps } };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const below of Object.values(value)) deepFreeze(below);
    Object.freeze(value);
  }
  return value;
}
