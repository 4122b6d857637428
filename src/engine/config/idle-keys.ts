import { show } from '../../base/explain-issues.js';
import { formatPath, type JsonPath, type JsonValue } from '../../base/json-document.js';
import { hasMomentum } from '../../optim/config.js';
import { recomputePolicy } from './recompute-policy.js';
import type { ConfigRule, GivenValue } from './rule.js';
import type { CheckedConfig } from './schema.js';

/** Why nothing would come of a key in this configuration; undefined where it acts. */
type IdleReason = (config: CheckedConfig) => string | undefined;

/** A key that acts only beside certain others. */
interface ConditionalKey {
  readonly path: JsonPath;
  /** A value that asks for nothing, and may stand anywhere. */
  readonly inert?: JsonValue;
  readonly idle: IdleReason;
}

const atLowStage: IdleReason = ({ zero_optimization: { stage } }) =>
  stage === 3 ? undefined : `at stage ${stage}`;

/** Parameters beyond those that one block needs are live where they are fetched ahead or kept for later. */
const withoutSpareParameters: IdleReason = ({ zero_optimization: zero }) => {
  const areKept = zero.stage3_max_reuse_distance > 0 || zero.stage3_param_persistence_threshold > 0;
  const areFetched = zero.overlap_comm && zero.stage3_prefetch_bucket_size > 0;
  return areKept || areFetched ? undefined : 'while no block is gathered ahead or kept';
};

const withoutPersistence: IdleReason = ({ zero_optimization: { stage3_param_persistence_threshold } }) =>
  stage3_param_persistence_threshold === 0 ? 'while stage3_param_persistence_threshold is 0' : undefined;

const withoutOverlap: IdleReason = ({ zero_optimization: { overlap_comm } }) =>
  overlap_comm ? undefined : 'while overlap_comm is false';

const withoutMomentum: IdleReason = ({ optimizer }) =>
  hasMomentum(optimizer) ? undefined : 'while optimizer.params.momentum is 0';

/** The cycle of momentum has nothing to move in an optimizer without momentum. */
const withoutMovedMomentum: IdleReason = (config) => {
  const { scheduler } = config;
  if (scheduler?.type !== 'OneCycle') return undefined;
  return scheduler.params.cycle_momentum === false
    ? 'while cycle_momentum is false'
    : withoutMomentum(config);
};

const withoutDecay: IdleReason = ({ scheduler }) =>
  scheduler?.type === 'OneCycle' && scheduler.params.decay_step_size === 0
    ? 'while decay_step_size is 0'
    : undefined;

const withoutDecayRates: IdleReason = ({ scheduler }) =>
  scheduler?.type === 'OneCycle' &&
  scheduler.params.decay_lr_rate === 0 &&
  scheduler.params.decay_mom_rate === 0
    ? 'while decay_lr_rate and decay_mom_rate are 0'
    : undefined;

const withStaticScale: IdleReason = ({ fp16 }) =>
  fp16.enabled && fp16.loss_scale > 0 ? 'while loss_scale is above 0, which keeps the scale' : undefined;

const onTheCpu: IdleReason = ({ device }) =>
  device === 'cpu' ? 'on a CPU, where kept inputs lie in host memory anyway' : undefined;

const withoutRecomputation: IdleReason = (config) =>
  recomputePolicy(config).policy === 'none'
    ? 'while nothing is recomputed, for then no inputs are kept'
    : undefined;

const scaling = (key: string): JsonPath => ['fp16', key];
const zero = (key: string): JsonPath => ['zero_optimization', key];
const cycle = (key: string): JsonPath => ['scheduler', 'params', key];

const CONDITIONAL_KEYS: readonly ConditionalKey[] = [
  { path: zero('stage3_prefetch_bucket_size'), idle: either(atLowStage, withoutOverlap) },
  { path: zero('stage3_max_live_parameters'), idle: either(atLowStage, withoutSpareParameters) },
  { path: zero('stage3_max_reuse_distance'), inert: 0, idle: atLowStage },
  { path: zero('stage3_model_persistence_threshold'), idle: either(atLowStage, withoutPersistence) },
  { path: zero('stage3_param_persistence_threshold'), idle: atLowStage },
  { path: zero('zero_quantized_weights'), inert: false, idle: atLowStage },
  { path: zero('zero_quantized_gradients'), inert: false, idle: atLowStage },
  { path: scaling('initial_scale_power'), inert: 16, idle: withStaticScale },
  { path: scaling('loss_scale_window'), inert: 1000, idle: withStaticScale },
  { path: scaling('hysteresis'), inert: 2, idle: withStaticScale },
  { path: scaling('consecutive_hysteresis'), inert: false, idle: withStaticScale },
  { path: scaling('min_loss_scale'), inert: 1, idle: withStaticScale },
  {
    path: ['activation_checkpointing', 'cpu_checkpointing'],
    inert: false,
    idle: either(onTheCpu, withoutRecomputation),
  },
  { path: ['optimizer', 'params', 'dampening'], inert: 0, idle: withoutMomentum },
  { path: cycle('cycle_momentum'), inert: false, idle: withoutMovedMomentum },
  { path: cycle('cycle_min_mom'), idle: withoutMovedMomentum },
  { path: cycle('cycle_max_mom'), idle: withoutMovedMomentum },
  { path: cycle('decay_mom_rate'), inert: 0, idle: either(withoutMovedMomentum, withoutDecay) },
  { path: cycle('decay_lr_rate'), inert: 0, idle: withoutDecay },
  { path: cycle('decay_step_size'), inert: 0, idle: withoutDecayRates },
];

/** The sections that say whether a key acts. */
function keysBehind([section]: JsonPath): ConfigRule['keys'] {
  if (section === 'activation_checkpointing') return [section, 'device', 'recompute', 'pipeline'];
  return section === 'zero_optimization' || section === 'fp16' ? [section] : ['optimizer', 'scheduler'];
}

/** A key that DeepSpeed would accept and then pass over is refused, with what keeps it from acting. */
export const idleKeyRules: readonly ConfigRule[] = CONDITIONAL_KEYS.map(({ path, inert, idle }) =>
  idleKeyRule({ path, inert: inert === undefined ? [] : [inert], idle }, keysBehind(path)),
);

/**
 * Refuses a key while something keeps it from acting.
 *
 * @param inert values that ask for nothing, and may stand anywhere
 */
export function idleKeyRule(
  { path, inert, idle }: { path: JsonPath; inert: readonly JsonValue[]; idle: IdleReason },
  keys: ConfigRule['keys'],
): ConfigRule {
  return {
    keys,
    check(config, _surroundings, given: GivenValue) {
      const value = given(path);
      const reason = value === undefined || inert.some((each) => each === value) ? undefined : idle(config);
      if (reason === undefined) return undefined;
      return {
        code: 'CONFIG_CONFLICT',
        path,
        part: 'key',
        what: `${formatPath(path)} has no effect ${reason}.`,
        got: show(value),
        cure: 'Remove it.',
      };
    },
  };
}

/**
 * What acts otherwise than it seems and is accepted all the same, because DeepSpeed's configurations commonly say
 * it: a learning rate beside a schedule that brings its own.
 */
export function idleKeyNotes({ scheduler, optimizer }: CheckedConfig, given: GivenValue): readonly string[] {
  const path = ['optimizer', 'params', 'lr'];
  const { lr } = optimizer.params;
  const rates = scheduler && ownRates(scheduler);
  if (given(path) === undefined || rates === undefined || Object.values(rates).includes(lr)) return [];
  const named = Object.entries(rates).map(([key, rate]) => `${key} ${rate}`);
  return [
    `${formatPath(path)} ${lr} has no effect: the schedule ${scheduler?.type} goes by ${named.join(' and ')}`,
  ];
}

/** The learning rates that a schedule names itself; undefined where it goes by the optimizer's. */
function ownRates({
  type,
  params,
}: NonNullable<CheckedConfig['scheduler']>): Readonly<Record<string, number>> | undefined {
  switch (type) {
    case 'WarmupLR':
      return params.warmup_max_lr === undefined ? undefined : { warmup_max_lr: params.warmup_max_lr };
    case 'WarmupDecayLR':
      return { warmup_max_lr: params.warmup_max_lr };
    case 'OneCycle':
      return { cycle_min_lr: params.cycle_min_lr, cycle_max_lr: params.cycle_max_lr };
    case 'LRRangeTest':
      return { lr_range_test_min_lr: params.lr_range_test_min_lr };
    case 'WarmupCosineLR':
      return undefined;
    default:
      return type satisfies never;
  }
}

function either(first: IdleReason, second: IdleReason): IdleReason {
  return (config) => first(config) ?? second(config);
}
