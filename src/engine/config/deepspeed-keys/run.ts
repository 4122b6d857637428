import type { KeyTable } from '../key-table.js';
import { foreign, later, off, section, switched } from '../key-table.js';

const NEBULA = 'see `checkpoint`: interval, keep and writer.decoupled';
const AUTOTUNING = 'the planner comes later';
const ELASTICITY = 'elastic runs come later';
const WRITER = 'there is one writer, which syncs what it writes and reads it back';

/** Batches, checkpoints, elastic runs, tuning. */
export const runKeys: KeyTable = {
  managed_gradient_accumulation: off(true, 'the step program always places the boundary'),
  dataloader_drop_last: off(false, 'no batch is short: the next epoch completes it'),
  zero_allow_untested_optimizer: foreign(false, 'every optimizer works with every stage'),
  checkpoint: section({
    load_universal: off(false, 'every checkpoint loads into every layout'),
    use_node_local_storage: off(
      false,
      'a checkpoint loads into any layout, so that every rank must be able to read what the others wrote',
    ),
    parallel_write: section({
      pipeline_stage: off(false, 'every rank always writes its own share, those of one stage too'),
    }),
    checkpoint_serialization: foreign(true, "torch's zip format is not used"),
    writer: section({
      type: later(null, WRITER),
      io_buffer_size: later(64 * 2 ** 20, WRITER),
      io_buffer_double: later(true, WRITER),
      show_statistics: off(false, 'every checkpoint is an event with its bytes and times'),
      data_parallel: foreign('replica', 'ranks that have the same state always share its writing'),
      io_multiplier: foreign(1, WRITER),
    }),
  }),
  nebula: switched('enabled', false, 'Nebula is a service of Azure', {
    persistent_storage_path: later(null, NEBULA),
    persistent_time_interval: later(100, NEBULA),
    num_of_version_in_retention: later(2, NEBULA),
    enable_nebula_load: later(true, NEBULA),
    nebula_load_path: later(null, NEBULA),
  }),
  datastates_ckpt: later({}, 'checkpoint.writer.decoupled writes beside training'),
  elasticity: switched('enabled', false, ELASTICITY, {
    max_train_batch_size: later(2000, ELASTICITY),
    micro_batch_sizes: later([2, 4, 6], ELASTICITY),
    min_gpus: later(1, ELASTICITY),
    max_gpus: later(10000, ELASTICITY),
    min_time: later(0, ELASTICITY),
    prefer_larger_batch: later(true, ELASTICITY),
    ignore_non_elastic_batch_info: later(false, ELASTICITY),
    model_parallel_size: later(1, ELASTICITY),
    num_gpus_per_node: later(1, ELASTICITY),
    version: later(0.2, ELASTICITY),
  }),
  autotuning: switched('enabled', false, AUTOTUNING, {
    fast: later(true, AUTOTUNING),
    metric: later('throughput', AUTOTUNING),
    tuner_type: later('gridsearch', AUTOTUNING),
    tuner_early_stopping: later(5, AUTOTUNING),
    tuner_num_trials: later(50, AUTOTUNING),
    start_profile_step: later(3, AUTOTUNING),
    end_profile_step: later(5, AUTOTUNING),
    overwrite: later(true, AUTOTUNING),
    results_dir: later(null, AUTOTUNING),
    exps_dir: later(null, AUTOTUNING),
    metric_path: later(null, AUTOTUNING),
    arg_mappings: later(null, AUTOTUNING),
    model_info: section({
      profile: later(false, AUTOTUNING),
      num_params: later(null, AUTOTUNING),
      hidden_size: later(null, AUTOTUNING),
      num_layers: later(null, AUTOTUNING),
    }),
    model_info_path: later(null, AUTOTUNING),
    mp_size: later(1, AUTOTUNING),
    min_train_batch_size: later(1, AUTOTUNING),
    max_train_batch_size: later(null, AUTOTUNING),
    min_train_micro_batch_size_per_gpu: later(1, AUTOTUNING),
    max_train_micro_batch_size_per_gpu: later(1024, AUTOTUNING),
    num_tuning_micro_batch_sizes: later(3, AUTOTUNING),
  }),
};
