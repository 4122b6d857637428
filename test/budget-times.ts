import { initialize } from '../src/engine/initialize.js';

/**
 * What a byte budget costs in time: `node dist/test/budget-times.js`. Trains one model inside eight budgets between
 * recomputing everything and nothing, in turns, and prints bytes and processor time of a step, the least of all
 * turns: time on the clock depends on what else a machine does. Fails where a peak is above its budget, or where a
 * larger budget takes more time by more than the noise.
 */
const LENGTH = 128;
const ROWS = 8;
const STEPS = 6;
const BUDGETS = 8;
const TURNS = 3;
/** Part of a step's time by which one measurement differs from the next of the same. */
const NOISE = 0.05;

const MODEL = {
  architecture: 'llama',
  vocab_size: 1024,
  hidden_size: 256,
  intermediate_size: 688,
  num_hidden_layers: 8,
  num_attention_heads: 4,
} as const;

type Policy = NonNullable<Parameters<typeof initialize>[0]['config']['recompute']>;

interface Times {
  readonly predictedBytes: number;
  readonly measuredBytes: number;
  readonly milliseconds: number;
  readonly features: string;
}

function train(recompute: Policy): Times {
  const engine = initialize({
    config: {
      model: MODEL,
      train_batch_size: ROWS,
      data: { path: 'none', sequence_length: LENGTH },
      recompute,
    },
  });
  const inputIds = Array.from({ length: ROWS }, (_, row) =>
    Array.from({ length: LENGTH }, (__, i) => (row * 31 + i * 7) % MODEL.vocab_size),
  );
  const milliseconds: number[] = [];
  for (let step = 0; step < STEPS; step += 1) {
    const before = process.cpuUsage();
    engine.trainBatch({ inputIds });
    const { user, system } = process.cpuUsage(before);
    // The first step measures, and the second takes memory that is new.
    if (step > 1) milliseconds.push((user + system) / 1000);
  }
  const times = {
    predictedBytes: engine.predictedPeaks()[0]?.bytes ?? Number.NaN,
    measuredBytes: engine.measuredPeakBytes()?.[0] ?? Number.NaN,
    milliseconds: Math.min(...milliseconds),
    features: engine.program.features.filter((feature) => feature.startsWith('recompute')).join(),
  };
  engine.close();
  return times;
}

function print(budget: string, { predictedBytes, measuredBytes, milliseconds, features }: Times): void {
  const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1).padStart(7);
  process.stdout.write(
    `${budget.padStart(9)}  predicted ${mebibytes(predictedBytes)}  measured ${mebibytes(measuredBytes)} MiB  ` +
      `${milliseconds.toFixed(0).padStart(5)} ms  ${features}\n`,
  );
}

/** The least time that any turn took. */
function leastOf(turns: readonly Times[]): Times {
  return turns.reduce((best, turn) => (turn.milliseconds < best.milliseconds ? turn : best));
}

const least = train({ policy: 'always' });
const most = train({ policy: 'none' });
const budgets = Array.from({ length: BUDGETS }, (_, index) => {
  const share = (index + 0.5) / BUDGETS;
  return Math.ceil(least.predictedBytes + share * (most.predictedBytes - least.predictedBytes));
});
const policies: readonly Policy[] = [
  { policy: 'always' },
  ...budgets.map((budget_bytes) => ({ policy: 'budget', budget_bytes }) as const),
  { policy: 'none' },
];
const turns = Array.from({ length: TURNS }, () => policies.map(train));
const results = policies.map((policy, index) => ({
  policy,
  times: leastOf(turns.flatMap((turn) => turn[index] ?? [])),
}));
for (const { policy, times } of results) {
  print(policy.policy === 'budget' ? (policy.budget_bytes / 2 ** 20).toFixed(1) : policy.policy, times);
}
const faults = results.flatMap(({ policy, times }, index) => {
  const before = results[index - 1]?.times.milliseconds ?? Number.POSITIVE_INFINITY;
  const isOver = policy.policy === 'budget' && times.measuredBytes > policy.budget_bytes;
  return [
    ...(isOver ? [`the peak is above the budget of ${policy.budget_bytes} bytes`] : []),
    ...(times.milliseconds > before * (1 + NOISE)
      ? [`line ${index + 1} takes longer than line ${index}`]
      : []),
  ];
});
for (const fault of faults) process.stdout.write(`FAULT ${fault}\n`);
process.stdout.write(faults.length === 0 ? 'all as it should be\n' : '');
process.exitCode = faults.length === 0 ? 0 : 1;
