import { join } from 'node:path';
import type { ErrorCode } from '../../base/error-codes.js';
import { type ErrorReport, TrainyardError } from '../../base/errors.js';
import type { JsonValue } from '../../base/json-document.js';
import { precisionName, precisionOf } from '../../precision/config.js';
import type { OverflowAnswer } from '../../precision/loss-scaler.js';
import type { StepMetrics } from '../../step/handlers/step-state.js';
import { isFiniteStep } from '../../step/non-finite.js';
import { nodeFileSystem } from '../../store/file-system.js';
import { randomState, setRandomState } from '../../tensor/random.js';
import type { EngineParts } from '../engine-parts.js';
import { gatherText } from '../gather-bytes.js';
import { saveModel } from '../save-model.js';
import { type BundleRank, bundleModel, microBatchToSave, writeBundle } from './bundle.js';
import { type Diagnosis, diagnose, type StepToSearch } from './diagnose.js';
import {
  afterFiniteStep,
  afterLoading,
  batchOfStep,
  type Decision,
  decide,
  NOTHING_SEEN,
  type NonFinitePolicy,
  type NonFiniteState,
  nonFiniteStateSchema,
} from './policy.js';
import type { StepRecord } from './step-record.js';

/** A step whose loss or gradients were not finite, the same on every rank. */
export interface NonFiniteStep {
  /** What becomes of it. A run that goes back has to be told to: `Engine.rewind`. */
  readonly decision: Decision;
  readonly diagnosis: Diagnosis;
  /** The folder that `trainyard replay` takes; absent where none was written. */
  readonly bundle?: string;
}

/** What is known of a step when it has ended. */
export interface EndedStep extends StepToSearch {
  readonly record: StepRecord;
  readonly metrics: StepMetrics;
  readonly lossScale: number;
  /** What the loss scale does about it, should it have overflowed. */
  readonly overflowAnswer: OverflowAnswer;
}

/** What a checkpoint keeps of it. */
const NON_FINITE = 'non_finite';
const FOLDER = 'non-finite';
/** Steps that are passed over leave a bundle while there are fewer. */
const MOST_BUNDLES = 3;

/** Without a policy the first such step that reaches the update ends the run. */
const STOP: NonFinitePolicy = { action: 'stop', limit: 1 };

/**
 * So many steps in a row a precision may leave out by its own rule. The weights are the same all the while, and none of as many
 * batches could be used: no other will.
 */
const MOST_LEFT_OUT_IN_A_ROW = 100;

/** Where a run keeps what is known of steps that were not finite. */
function bundlesIn(output: string): string {
  return join(output, FOLDER);
}

/** Watches over one run's steps: decides about those whose numbers are not finite, and keeps what they came from. */
export class NonFiniteGuard {
  #state: NonFiniteState = NOTHING_SEEN;
  /** Steps up to the last one that were left out by the rule of the precision. */
  #leftOutInARow = 0;

  constructor(private readonly parts: EngineParts) {}

  /** The number of the global batch that a step is to be given, both counted from 0. */
  batchOf(step: number): number {
    return batchOfStep(step, this.#state.leftOut);
  }

  /**
   * Judges a step that has ended, and has left weights and optimizer states as they were if its numbers are not finite.
   * Every rank must call it; all come to the same.
   *
   * @returns undefined for a step that is as it should be, or was left out by the rules of its precision
   * @throws TrainyardError TRAINING_DIVERGED where the run has to stop; OUTPUT_UNWRITABLE
   */
  judge(ended: EndedStep): NonFiniteStep | undefined {
    const { config } = this.parts;
    const { metrics, step } = ended;
    if (this.#isLeftOut(ended)) {
      this.#leftOutInARow += 1;
      return undefined;
    }
    if (isFiniteStep(metrics)) {
      this.#leftOutInARow = 0;
      this.#state = afterFiniteStep(this.#state);
      return undefined;
    }
    const policy = config.non_finite ?? STOP;
    const { decision, state } = decide(policy, this.#state, this.batchOf(step - 1));
    if (config.redundancy?.type === 'local') throw diverged(ended, policy);
    const diagnosis = this.#search(ended);
    const bundle = this.#keep(ended, decision, diagnosis);
    const nonFinite = { decision, diagnosis, ...(bundle !== undefined && { bundle }) };
    if (decision === 'stop') throw diverged(ended, policy, nonFinite);
    this.#state = state;
    return nonFinite;
  }

  /**
   * Whether the rule of the precision is enough: gradients that a smaller loss scale will keep finite are nothing to search
   * for, and a step now and then is not either, unless the configuration says so.
   */
  #isLeftOut({ metrics, overflowAnswer }: EndedStep): boolean {
    if (metrics.overflow === undefined || this.#leftOutInARow >= MOST_LEFT_OUT_IN_A_ROW) return false;
    switch (overflowAnswer) {
      case 'falls':
        return true;
      case 'spent':
        return false;
      case 'static':
        return this.parts.config.non_finite === undefined;
      default:
        return overflowAnswer satisfies never;
    }
  }

  /** Runs the step again as it began, and leaves the generator as the step had left it. */
  #search({ record, ...search }: EndedStep): Diagnosis {
    const { model, memory, group, axes, device } = this.parts;
    const after = randomState(device);
    setRandomState(record.random, device);
    const ownShard = memory.partition.ranks === 1 ? 0 : axes.shard.rank;
    const diagnosis = diagnose(group, model, memory, ownShard, search);
    setRandomState(after, device);
    return diagnosis;
  }

  #keep(ended: EndedStep, decision: Decision, diagnosis: Diagnosis): string | undefined {
    const { config, source, memory, group, identity } = this.parts;
    if (config.output === undefined) return undefined;
    const folders = bundlesIn(config.output);
    // Rank 0 looks, for all.
    const wanted = group.rank === 0 ? freeName(folders, ended.step, decision) : '';
    const [name = ''] = gatherText(group, wanted);
    const ranks = gatherText(group, JSON.stringify(this.#ownRecord(ended.record)));
    if (name === '') return undefined;
    const folder = join(folders, name);
    const { adapter } = source;
    const unmerged = { ...source, ...(adapter && { adapter: { ...adapter, merge: false } }) };
    saveModel(bundleModel(folder), { source: unmerged, memory, group });
    if (group.rank === 0) {
      const { loss, gradientNorm } = ended.metrics;
      writeBundle(folder, {
        format: 'trainyard-non-finite',
        version: 1,
        step: ended.step,
        decision,
        loss: String(loss),
        gradient_norm: String(gradientNorm),
        loss_factor: ended.inputs.lossScale,
        loss_scale: ended.lossScale,
        ...(diagnosis.first && { first: diagnosis.first }),
        vanished: diagnosis.vanished,
        identity,
        precision: precisionName(precisionOf(config)),
        config: Object.fromEntries(Object.entries(config)),
        found: diagnosis.ranks,
        ranks: ranks.map((text) => JSON.parse(text) as BundleRank),
      });
    }
    group.barrier().wait();
    return folder;
  }

  /** Ranks that work on the same sequences leave them to the first of these. */
  #ownRecord({ random, microBatches }: StepRecord): BundleRank {
    const { tensor, pipeline, sequence, data } = this.parts.axes;
    const isFirst = [tensor, pipeline, sequence].every((axis) => (axis?.rank ?? 0) === 0);
    const encoded = Buffer.from(random).toString('base64');
    if (!isFirst) return { random: encoded, micro_batches: [] };
    return { random: encoded, data: data.rank, micro_batches: microBatches.map(microBatchToSave) };
  }

  /** For `extra` of a checkpoint. */
  toSave(): Readonly<Record<string, JsonValue>> {
    if (this.parts.config.non_finite === undefined) return {};
    const { leftOut, ...counts } = this.#state;
    return { [NON_FINITE]: { ...counts, leftOut: [...leftOut] } };
  }

  /** @throws TrainyardError CHECKPOINT_INVALID for what no run can have saved */
  restore(tag: string, extra: Readonly<Record<string, JsonValue>>): void {
    const saved = nonFiniteStateSchema.optional().safeParse(extra[NON_FINITE]);
    if (!saved.success) {
      throw new TrainyardError('CHECKPOINT_INVALID', {
        what: `The checkpoint says something impossible of the run: ${NON_FINITE}.`,
        where: tag,
        cure: 'Remove this checkpoint; an older one beside it is used then.',
      });
    }
    this.#state = afterLoading(this.#state, saved.data ?? NOTHING_SEEN);
    this.#leftOutInARow = 0;
  }
}

/** A name for the bundle of a step; none where there are enough of steps that did not end a run. */
function freeName(folders: string, step: number, decision: Decision): string {
  const taken = nodeFileSystem.list(folders);
  if (decision !== 'stop' && taken.length >= MOST_BUNDLES) return '';
  const name = `step-${step}`;
  return taken.includes(name) ? `${name}-${taken.length + 1}` : name;
}

function diverged(
  ended: EndedStep,
  policy: NonFinitePolicy,
  found?: Pick<NonFiniteStep, 'diagnosis' | 'bundle'>,
): TrainyardError {
  const { metrics, step, program, lossScale } = ended;
  const first = found?.diagnosis.first;
  const rank = first?.rank ?? program.rank;
  const at = first !== undefined && first.kind !== 'parameter';
  const instruction = at ? `, instruction ${first.position}: ${first.instruction}` : '';
  const kept =
    found?.bundle === undefined ? '' : ` \`trainyard replay ${found.bundle}\` computes the step again.`;
  const { code, what, cure } = whyItStops(ended, policy);
  const scaled = lossScale === 1 ? '' : `loss scale ${lossScale}, `;
  const where = found === undefined ? 'replicas are not looked through' : findingText(found.diagnosis);
  return new TrainyardError(code, {
    what: `${what}; the weights are those before it, and nothing was saved.`,
    where: `rank ${rank}, step ${step}${instruction}`,
    expected: 'finite numbers',
    got: `${scaled}loss ${metrics.loss}, gradient norm ${metrics.gradientNorm}; ${where}`,
    cure: `${cure}${kept}`,
  });
}

/** What is said of a run that ends at a step. */
function whyItStops(
  { metrics, step, overflowAnswer }: EndedStep,
  policy: NonFinitePolicy,
): Pick<ErrorReport, 'what' | 'cure'> & { readonly code: ErrorCode } {
  const spent = {
    stop: '',
    skip: `, after ${policy.limit} skipped in a row`,
    rewind: `, after ${policy.limit} rewinds`,
  }[policy.action];
  if (metrics.overflow !== undefined && overflowAnswer === 'spent') {
    return {
      code: 'LOSS_SCALE_EXHAUSTED',
      what: `Gradients of step ${step} overflow fp16 at the smallest loss scale, fp16.min_loss_scale${spent}`,
      cure: 'Lower the learning rate, or compute in bf16: its range is that of fp32.',
    };
  }
  const wasLeftOut = metrics.overflow !== undefined && policy === STOP;
  const often = wasLeftOut ? `, after ${MOST_LEFT_OUT_IN_A_ROW} steps in a row that were left out` : spent;
  return {
    code: 'TRAINING_DIVERGED',
    what: `The ${Number.isFinite(metrics.loss) ? 'gradient norm' : 'loss'} of step ${step} is not finite${often}`,
    cure: 'Lower optimizer.params.lr, warm it up with a scheduler, or look for what is odd in the data of this step.',
  };
}

/** What was first not finite, in words. */
export function findingText({ first, vanished }: Diagnosis): string {
  if (first === undefined) {
    return vanished
      ? 'computed a second time, all of it is finite: suspect the hardware'
      : 'what each rank computed is finite, and the sum over the ranks is not';
  }
  const { module, tensor, rank, value } = first;
  switch (first.kind) {
    case 'parameter':
      return `first ${value}: the weight ${tensor} of ${module}, on rank ${rank}`;
    case 'output':
      return `first ${value}: the output "${tensor}" of ${module}, on rank ${rank}`;
    case 'gradient':
      return `first ${value}: the gradient of ${tensor} in ${module}, on rank ${rank}`;
    default:
      return first satisfies never;
  }
}
