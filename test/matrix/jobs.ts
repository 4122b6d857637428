import { ALGORITHM_NAMES } from '../../src/comm/algorithm.js';

/** One way of training a fixture, which must come to the same as every other. */
export interface Job {
  readonly folder: string;
  readonly stage: 0 | 1 | 2 | 3;
  readonly policy: Policy;
  readonly granularity: 'block' | 'half';
  readonly accumulation: number;
  readonly bucket: Bucket;
  readonly overlap: boolean;
  readonly deterministic: boolean;
  /** What lies in files. */
  readonly offload: Offload;
}

export const STAGES = [0, 1, 2, 3] as const;
export const WORLDS = [1, 2, 3, 4] as const;
export const ACCUMULATIONS = [1, 2, 4] as const;

/** `names` and `every` are both "selected". */
const POLICIES = ['none', 'always', 'every', 'names', 'on-demand', 'budget'] as const;
export type Policy = (typeof POLICIES)[number];

/** `half`: the optimizer's states of about half of the model; `parameters` and `everything` need stage 3. */
const OFFLOADS = ['none', 'optimizer', 'half', 'parameters', 'everything'] as const;
export type Offload = (typeof OFFLOADS)[number];

/** How much travels and is gathered at once. */
const BUCKETS = ['one parameter', 'some', 'the whole model'] as const;
export type Bucket = (typeof BUCKETS)[number];

/** How ranks exchange: "auto" is shared memory, as all are on one host. Ours are not in the order of ranks. */
export const TRANSPORTS = ['auto', 'backend', ...ALGORITHM_NAMES] as const;
export type Transport = (typeof TRANSPORTS)[number];

/** What came out of a job. */
export interface Outcome {
  readonly job: Job;
  /** The largest relative error of any step, against the fixture's answers. */
  readonly lossError: number;
  readonly normError: number;
  /** A fingerprint of the final weights. */
  readonly weights: string;
}

/** Where nothing else is said. */
export const USUAL = {
  policy: 'none',
  granularity: 'block',
  bucket: 'some',
  overlap: true,
  deterministic: false,
  offload: 'none',
} as const satisfies Partial<Job>;

/** Every combination for one folder. */
export function allJobs(folder: string): readonly Job[] {
  const plain = combine(
    (stage, policy, accumulation, bucket): Job => ({ ...USUAL, folder, stage, policy, accumulation, bucket }),
  );
  return [...plain, ...halvesJobs(folder), ...deterministicJobs(folder), ...offloadJobs(folder)];
}

/** One for each accumulation whose bits all others of it must come to. */
export function plainJobs(folder: string): readonly Job[] {
  return deterministicJobs(folder).filter(
    ({ stage, bucket, overlap }) => stage === 0 && bucket === 'some' && overlap,
  );
}

/** Those with training state in files, in every way and at every stage that has it; the bits are those of all others. */
export function offloadJobs(folder: string): readonly Job[] {
  return ACCUMULATIONS.flatMap((accumulation) =>
    STAGES.filter((stage) => stage > 0).flatMap((stage) =>
      OFFLOADS.filter(
        (offload) => offload === 'optimizer' || offload === 'half' || (offload !== 'none' && stage === 3),
      ).flatMap((offload) =>
        [true, false].flatMap((deterministic) =>
          [true, false].map((overlap): Job => {
            const policy = overlap ? 'none' : 'always';
            return { ...USUAL, folder, stage, policy, accumulation, overlap, deterministic, offload };
          }),
        ),
      ),
    ),
  );
}

/** Those that train layers in halves. */
export function halvesJobs(folder: string): readonly Job[] {
  const whole = combine((stage, policy, accumulation, bucket): Job => {
    return { ...USUAL, folder, stage, policy, granularity: 'half', accumulation, bucket };
  });
  return whole.filter(({ policy, bucket }) => policy !== 'none' && bucket === 'some');
}

/** Those whose final weights must be equal to the last bit within a world size and an accumulation. */
function deterministicJobs(folder: string): readonly Job[] {
  return ACCUMULATIONS.flatMap((accumulation) =>
    STAGES.flatMap((stage) =>
      BUCKETS.flatMap((bucket) =>
        [true, false].map((overlap): Job => {
          const policy = overlap ? 'none' : 'always';
          return { ...USUAL, folder, stage, policy, accumulation, bucket, overlap, deterministic: true };
        }),
      ),
    ),
  );
}

function combine<Result>(
  make: (stage: Job['stage'], policy: Policy, accumulation: number, bucket: Bucket) => Result,
): readonly Result[] {
  return STAGES.flatMap((stage) =>
    POLICIES.flatMap((policy) =>
      ACCUMULATIONS.flatMap((accumulation) =>
        BUCKETS.map((bucket) => make(stage, policy, accumulation, bucket)),
      ),
    ),
  );
}

/** Every n-th of them, begun at another one for each world; n coprime to the lengths of all lists meets all values. */
export function slice(jobs: readonly Job[], every: number, first: number): readonly Job[] {
  return jobs.filter((_, index) => index % every === first % every);
}
