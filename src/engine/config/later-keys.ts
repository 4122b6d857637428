import type { KeyTable } from './key-table.js';
import { later, laterValues, section } from './key-table.js';

const ADAPTERS = 'adapters (LoRA) come later';

/** Trainyard's own keys that are planned, so that a configuration written for a later version says so. */
export const laterKeys: KeyTable = {
  memory_limit: later(null, 'memory limits come with offloading'),
  adapter: section({
    type: later('lora', ADAPTERS),
    rank: later(8, ADAPTERS),
    alpha: later(16, ADAPTERS),
    targets: later([], ADAPTERS),
  }),
  redundancy: later(null, 'redundant copies come later'),
  mesh: section({
    pipeline: laterValues({ above: 1 }, 'pipeline parallelism comes later'),
    tensor: laterValues({ above: 1 }, 'tensor parallelism comes later'),
  }),
  communication: section({
    algorithm: laterValues(
      ['ring', 'bidirectional-ring', 'hierarchical', 'halving-doubling'],
      'our own collective algorithms come later',
    ),
    topology: later(null, 'our own collective algorithms come later'),
  }),
};
