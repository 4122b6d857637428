import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { rendezvous } from '../src/comm/rendezvous.js';
import { compileStep } from '../src/engine/compile-step.js';
import { resolveConfig, type UserConfig } from '../src/engine/config.js';
import { loadParameters } from '../src/engine/fill-parameters.js';
import { openMemory } from '../src/engine/initialize.js';
import { openModel } from '../src/engine/model-source.js';
import { planFlatLayout } from '../src/nn/flat-layout.js';
import { allocatedBytes, peakAllocatedBytes, resetPeakAllocatedBytes } from '../src/tensor/memory.js';
import { scope } from '../src/tensor/tensor.js';
import { type RankPlace, worldOf } from './rank-world.js';

/**
 * One rank of the tests of building a model: its arguments are CONFIG. Allocates and fills
 * the training memory, and says what that took of tensors and of the mapped files.
 */
export function run(place: RankPlace, [configText = '{}']: readonly string[]): unknown {
  const { rank, worldSize, port } = place;

  const config = resolveConfig(JSON.parse(configText) as UserConfig, { worldSize, requires: ['model'] });
  const group = rendezvous({
    rank,
    worldSize,
    masterAddress: '127.0.0.1',
    masterPort: port,
    storeIsHosted: false,
    runId: 'build/0',
    networkInterface: 'lo',
    timeoutMs: 30_000,
  });
  const source = openModel(config);
  const layout = planFlatLayout(source.model.blocks, undefined, worldSize);
  const { sharding } = compileStep({
    config,
    model: source.model,
    layout,
    goal: 'update',
    sequenceLength: 8,
  }).program(rank);
  const before = allocatedBytes();
  resetPeakAllocatedBytes();
  const memory = openMemory({
    source,
    layout,
    sharding,
    world: worldOf(group),
    dtype: 'float32',
    seed: config.seed,
    sequenceLength: 8,
  });
  const peakBytes = peakAllocatedBytes() - before;
  const keptBytes = allocatedBytes() - before;
  // Filled once more, to look at the files while they are mapped.
  let mappedBytes = 0;
  if (source.folder !== undefined) {
    loadParameters(source.folder, source.model, (name, values) => {
      memory.fill(memory.slot(name), values);
      mappedBytes = residentOf('.safetensors');
    });
  }

  const hash = createHash('sha256');
  for (const slot of memory.slots) scope(() => void hash.update(memory.read(slot).toBytes()));
  group.close();
  return {
    peakBytes,
    keptBytes,
    mappedBytes,
    parameters: layout.trainableElements,
    weights: hash.digest('hex'),
  };

  /** Bytes of a mapped file that this process has touched, as the kernel counts its pages. */
  function residentOf(suffix: string): number {
    let isWanted = false;
    let kibibytes = 0;
    for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
      if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) isWanted = line.endsWith(suffix);
      else if (isWanted) kibibytes += Number(/^Rss:\s+(\d+) kB/.exec(line)?.[1] ?? 0);
    }
    return kibibytes * 1024;
  }
}
