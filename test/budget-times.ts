import { initialize } from '../src/engine/initialize.js';

/**
 * What a byte budget costs in time: `node dist/test/budget-times.js`. Trains one model inside eight budgets between
 * recomputing everything and nothing, and prints bytes and processor time of a step, the least of several: time on
 * the clock depends on what else a machine does.
 */
const LENGTH = 128;
const ROWS = 8;
const STEPS = 10;
const BUDGETS = 8;

const MODEL = {
  architecture: 'llama',
  vocab_size: 1024,
  hidden_size: 256,
  intermediate_size: 688,
  num_hidden_layers: 8,
  num_attention_heads: 4,
} as const;

interface Times {
  readonly predictedBytes: number;
  readonly measuredBytes: number;
  readonly milliseconds: number;
  readonly features: string;
}

function train(recompute: Parameters<typeof initialize>[0]['config']['recompute']): Times {
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

const least = train({ policy: 'always' });
const most = train({ policy: 'none' });
print('always', least);
for (let index = 0; index < BUDGETS; index += 1) {
  const share = (index + 0.5) / BUDGETS;
  const budget_bytes = Math.ceil(least.predictedBytes + share * (most.predictedBytes - least.predictedBytes));
  print(`${(budget_bytes / 2 ** 20).toFixed(1)}`, train({ policy: 'budget', budget_bytes }));
}
print('none', most);
