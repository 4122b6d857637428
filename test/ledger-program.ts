import { availableParallelism } from 'node:os';
import { OrderedGroup } from '../src/comm/ordered-group.js';
import { rendezvous } from '../src/comm/rendezvous.js';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { buildEngine } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { allocatedBytes } from '../src/tensor/memory.js';

/**
 * One rank of the tests of the ledger: `node ledger-program.js RANK WORLD PORT CONFIG`. Trains until buffers have
 * settled, and says what was predicted and what was measured.
 */
const [rankText = '0', worldText = '1', port = '0', configText = '{}'] = process.argv.slice(2);
const [rank, worldSize] = [Number(rankText), Number(worldText)];
const STEPS = 4;

const config = resolveConfig(JSON.parse(configText) as UserConfig, {
  worldSize,
  requires: ['model', 'data'],
});
const group = rendezvous({
  rank,
  worldSize,
  masterAddress: '127.0.0.1',
  masterPort: Number(port),
  storeIsHosted: false,
  runId: 'ledger/0',
  networkInterface: 'lo',
  timeoutMs: 30_000,
  ...(config.communication.algorithm === 'shared-memory' && {
    sharedMemory: { isRequired: true, cores: availableParallelism(), threadsPerRank: 1 },
  }),
});
const source = openModel(config);
const engine = buildEngine({
  config,
  source,
  world: { group: config.communication.deterministic ? new OrderedGroup(group) : group, device: 'cpu' },
});
const rows = config.train_micro_batch_size_per_gpu * config.gradient_accumulation_steps;
const length = config.data.sequence_length ?? 0;
for (let step = 0; step < STEPS; step += 1) {
  const inputIds = Array.from({ length: rows }, (_, row) =>
    Array.from({ length }, (__, i) => (row * 31 + i * 7 + step + rank) % source.model.vocabularySize),
  );
  engine.trainBatch({ inputIds });
}
const measured = engine.measuredPeakBytes()?.[rank];
const predicted = engine.predictedPeaks()[rank];
const { features } = engine.program;
engine.close();
const left = allocatedBytes();
process.stdout.write(JSON.stringify({ measured, predicted, features, left }));
