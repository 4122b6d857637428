import type { KeyTable } from '../key-table.js';
import { later, section, switched } from '../key-table.js';

const EFFICIENCY = 'data-efficiency methods are not here yet';
const CURRICULUM = 'curriculum learning is not here yet';

/** Methods that change which data a step sees. */
export const dataKeys: KeyTable = {
  data_efficiency: switched('enabled', false, EFFICIENCY, {
    seed: later(1234, EFFICIENCY),
    data_sampling: switched('enabled', false, EFFICIENCY, {
      num_epochs: later(1000, EFFICIENCY),
      num_workers: later(0, EFFICIENCY),
      pin_memory: later(false, EFFICIENCY),
      curriculum_learning: switched('enabled', false, CURRICULUM, {
        data_cluster_path: later(null, CURRICULUM),
        curriculum_metrics: later({}, CURRICULUM),
      }),
      dynamic_batching: switched('enabled', false, EFFICIENCY, {
        metrics_path: later(null, EFFICIENCY),
        lr_scaling_method: later(null, EFFICIENCY),
        min_batch_size: later(null, EFFICIENCY),
        max_batch_size: later(null, EFFICIENCY),
        max_tokens: later(null, EFFICIENCY),
        sequence_picking_order: later(null, EFFICIENCY),
        verbose: later(false, EFFICIENCY),
      }),
    }),
    data_routing: section({
      enabled: later(false, EFFICIENCY),
      random_ltd: later({}, EFFICIENCY),
    }),
  }),
  curriculum_learning: switched('enabled', false, CURRICULUM, {
    curriculum_type: later(null, CURRICULUM),
    min_difficulty: later(null, CURRICULUM),
    max_difficulty: later(null, CURRICULUM),
    schedule_type: later(null, CURRICULUM),
    schedule_config: later({}, CURRICULUM),
  }),
};
