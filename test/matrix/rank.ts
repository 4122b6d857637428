import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { OrderedGroup } from '../../src/comm/ordered-group.js';
import type { Batch } from '../../src/engine/batch.js';
import { compileStep } from '../../src/engine/compile-step.js';
import { resolveConfig, type UserConfig } from '../../src/engine/config.js';
import type { Engine } from '../../src/engine/engine.js';
import { buildEngine } from '../../src/engine/initialize.js';
import { openModel } from '../../src/engine/model-source.js';
import { planFlatLayout } from '../../src/nn/flat-layout.js';
import { keptOpen } from '../kept-open.js';
import { type Expected, readJson, readSequences } from '../models-harness.js';
import { joinAsRank, type RankPlace, worldOf } from '../rank-world.js';
import type { Bucket, Job, Outcome, Transport } from './jobs.js';

/** One rank of the matrix: its arguments are JOBS TRANSPORT. Trains every job, and writes what came out. */
export function run(place: RankPlace, [jobsText = '[]', transport = 'auto']: readonly string[]): unknown {
  const { rank, worldSize } = place;

  const SIZES: Readonly<Record<Bucket, NonNullable<UserConfig['zero_optimization']>>> = {
    'one parameter': {
      reduce_bucket_size: 1,
      stage3_prefetch_bucket_size: 0,
      stage3_param_persistence_threshold: 0,
    },
    some: {
      reduce_bucket_size: 2500,
      stage3_prefetch_bucket_size: 10_000,
      stage3_param_persistence_threshold: 100,
    },
    'the whole model': { reduce_bucket_size: 1e9, stage3_max_reuse_distance: 1e9 },
  };

  const algorithm = transport as Transport;
  const communication = {
    algorithm,
    timeout_seconds: 120,
    // What goes between hosts needs two of them, though one rank be alone.
    ...(algorithm === 'hierarchical' && { topology: { ranks_per_host: Math.max(1, worldSize >> 1) } }),
  };
  const { group } = joinAsRank(
    resolveConfig({ train_micro_batch_size_per_gpu: 1, communication }, { worldSize }),
    place,
  );
  const outcomes = (JSON.parse(jobsText) as readonly Job[]).map(runJob);
  group.close();
  return { outcomes };

  function runJob(job: Job): Outcome {
    const folder = job.folder;
    const { batch_size: rows, train: expected } = readJson<Expected>(folder, 'expected.json');
    const sequences = readSequences(folder, rows * expected.losses.length);
    const config = resolveConfig(configOf(job, sequences[0]?.length ?? 0), { worldSize });
    const shared = keptOpen(group);
    const isOrdered = job.deterministic && !shared.sumsInOrder;
    const engine = buildEngine({
      config,
      source: openModel({ ...config, model: folder }),
      world: worldOf(isOrdered ? new OrderedGroup(shared) : shared),
    });
    let [lossError, normError] = [0, 0];
    for (const [step, loss] of expected.losses.entries()) {
      const batch = sequences.slice(step * rows, (step + 1) * rows);
      const result = engine.trainBatch(shareOf(batch, config.train_batch_size));
      lossError = Math.max(lossError, relative(result.loss, loss));
      normError = Math.max(normError, relative(result.gradientNorm, expected.grad_norms[step]));
    }
    const weights = fingerprint(engine);
    engine.close();
    return { job, lossError, normError, weights };
  }

  function configOf(job: Job, length: number): UserConfig {
    const { batch_size, train } = readJson<Expected>(job.folder, 'expected.json');
    const { lr, betas, eps, weight_decay, clip } = train;
    const shares = worldSize * job.accumulation;
    const whole: UserConfig = {
      model: job.folder,
      data: { path: join(job.folder, 'batches.jsonl'), sequence_length: length },
      train_batch_size: shares * Math.ceil(batch_size / shares),
      gradient_accumulation_steps: job.accumulation,
      gradient_clipping: clip,
      optimizer: { type: 'AdamW', params: { lr, betas, eps, weight_decay } },
      zero_optimization: {
        stage: job.stage,
        overlap_comm: job.overlap,
        ...bucketSizes(job),
        ...filesOf(job),
      },
      communication: { deterministic: job.deterministic },
    };
    return { ...whole, recompute: recomputeOf(job, whole) };
  }

  /** Nothing is fetched ahead without overlap, and a key that would do nothing is refused. */
  function bucketSizes({ bucket, stage, overlap }: Job): UserConfig['zero_optimization'] {
    const { reduce_bucket_size, stage3_prefetch_bucket_size: ahead, ...gathering } = SIZES[bucket];
    const fetching = overlap && ahead !== undefined ? { stage3_prefetch_bucket_size: ahead } : {};
    return { reduce_bucket_size, ...(stage === 3 && { ...gathering, ...fetching }) };
  }

  /** Their files have no names. */
  function filesOf({ offload }: Job): UserConfig['zero_optimization'] {
    const files = { device: 'nvme', nvme_path: tmpdir() } as const;
    switch (offload) {
      case 'none':
        return {};
      case 'optimizer':
        return { offload_optimizer: files, sub_group_size: 2048 };
      case 'half':
        return { offload_optimizer: { ...files, ratio: 0.5 }, sub_group_size: 2048 };
      case 'parameters':
        return { offload_param: files };
      case 'everything':
        return { offload_optimizer: files, offload_param: files, sub_group_size: 2048 };
      default:
        return offload satisfies never;
    }
  }

  function recomputeOf({ policy, granularity }: Job, whole: UserConfig): UserConfig['recompute'] {
    switch (policy) {
      case 'none':
        return { policy };
      case 'always':
        return { policy, granularity };
      case 'every':
        return { policy: 'selected', every: 2, granularity };
      case 'names':
        return { policy: 'selected', blocks: [granularity === 'half' ? '*.1.mlp' : '*.1'], granularity };
      case 'on-demand':
        return { policy, limit_bytes: halfway(whole, granularity), granularity };
      case 'budget':
        return { policy, budget_bytes: halfway(whole, granularity), granularity };
      default:
        return policy satisfies never;
    }
  }

  /** Between what a step takes that recomputes nothing and one that recomputes everything. */
  function halfway(whole: UserConfig, granularity: Job['granularity']): number {
    const written: UserConfig = { ...whole, recompute: { policy: 'always', granularity } };
    const config = resolveConfig(written, { worldSize, requires: ['model', 'data'] });
    const { model } = openModel(config);
    const layout = planFlatLayout(model.blocks, undefined, worldSize);
    const peakOf = (recomputed: ReadonlySet<number>): number => {
      const sequenceLength = config.data.sequence_length ?? 0;
      const step = compileStep({ config, model, layout, goal: 'update', sequenceLength, recomputed });
      return Math.max(...step.reports.map(({ peak }) => peak.bytes));
    };
    const [none, all] = [peakOf(new Set()), peakOf(new Set(model.blocks.keys()))];
    return Math.max(all, Math.ceil((none + all) / 2));
  }

  /** This rank's rows of a batch, which is filled up with rows without targets. */
  function shareOf(batch: readonly (readonly number[])[], total: number): Batch {
    const labelled = batch.map((ids) => ({ ids, labels: [...ids.slice(1), -100] }));
    const [first] = batch;
    const empty = { ids: first ?? [], labels: (first ?? []).map(() => -100) };
    const rows = [...labelled, ...Array.from({ length: total - batch.length }, () => empty)];
    const own = rows.slice((rank * total) / worldSize, ((rank + 1) * total) / worldSize);
    return { inputIds: own.map(({ ids }) => ids), labels: own.map(({ labels }) => labels) };
  }

  function fingerprint(engine: Engine): string {
    const hash = createHash('sha256');
    const names = engine.program.blocks.flatMap(({ parameters }) =>
      parameters.flatMap(({ name, owner }) => (name === owner ? [name] : [])),
    );
    for (const name of names) {
      engine.gathered([name], (tensors) => void hash.update(tensors.get(name)?.toBytes() ?? ''));
    }
    return hash.digest('hex');
  }

  function relative(got: number, expected = Number.NaN): number {
    return Math.abs(got - expected) / Math.abs(expected);
  }
}
