import type { KeyTable } from '../key-table.js';
import { dead, foreign, later, off, removed, section } from '../key-table.js';

const STAGE_3 = 'this refinement of ZeRO-3 is not here yet';
const OFFLOAD = 'this refinement of offloading is not here yet';
const ZENFLOW = 'ZenFlow is not here yet';
const ZERO_PLUS_PLUS = 'of ZeRO++ only quantized weights and gradients are here so far';

const stage3Keys: KeyTable = {
  gather_16bit_weights_on_model_save: foreign(
    true,
    'the saved model is always whole, in the dtype that it computes with; checkpoints keep fp32',
  ),
  module_granularity_threshold: foreign(0, 'a block is gathered as one message, whatever its modules'),
  use_all_reduce_for_fetch_params: foreign(false, 'a block is gathered into its place, without a copy'),
  allgather_sequential: foreign(false, 'a block is gathered as one message'),
};

const prefixed = Object.fromEntries(Object.entries(stage3Keys).map(([key, row]) => [`stage3_${key}`, row]));

/** `zero_optimization`, beside what `src/zero/config.ts` declares. */
export const zeroKeys: KeyTable = {
  zero_force_ds_cpu_optimizer: foreign(true, 'there is one CPU optimizer'),
  zero_optimization: section({
    contiguous_gradients: foreign(true, 'gradients are always views into flat buffers'),
    reduce_scatter: foreign(true, 'stages 1 to 3 always reduce-scatter'),
    use_multi_rank_bucket_allreduce: foreign(true, 'a bucket is one reduction'),
    allgather_partitions: dead(true, 'its getter is never called'),
    allgather_bucket_size: dead(
      5e8,
      'with a current PyTorch it is ignored; here parameters are gathered block by block',
    ),
    load_from_fp32_weights: foreign(true, 'checkpoints keep the fp32 weights'),
    elastic_checkpoint: foreign(false, 'every checkpoint loads into every layout'),
    round_robin_gradients: foreign(false, 'slices are even: there is no order of ranks to rotate'),
    ignore_unused_parameters: foreign(true, 'a parameter without a gradient counts as zero'),
    legacy_stage1: removed('DeepSpeed refuses it too'),
    grad_hooks: removed('DeepSpeed documents it and refuses it'),
    ...prefixed,
    max_reuse_distance: removed('it is called stage3_max_reuse_distance'),
    model_persistence_threshold: removed('it is called stage3_model_persistence_threshold'),
    prefetch_bucket_size: removed('it is called stage3_prefetch_bucket_size'),
    param_persistence_threshold: removed('it is called stage3_param_persistence_threshold'),
    max_live_parameters: removed('it is called stage3_max_live_parameters'),
    ...stage3Keys,
    memory_efficient_linear: foreign(true, 'it works around PyTorch keeping gathered weights'),
    override_module_apply: foreign(true, 'there is no module.apply'),
    pipeline_loading_checkpoint: off(false, STAGE_3),
    log_trace_cache_warnings: foreign(false, 'the step program is compiled, never traced'),
    enable_sanity_checks: foreign(false, 'every step program is checked'),
    save_muon_momentum_buffer_in_memory: off(false, 'Muon is not here yet'),
    leaf_module: section({
      classes: later([], STAGE_3),
      names: later([], STAGE_3),
      name_suffixes: later([], STAGE_3),
    }),
    offload_optimizer: section({
      fast_init: foreign(
        false,
        'states begin as empty files, which read as zeros: nothing is written for them',
      ),
      super_offload: off(false, OFFLOAD),
      cpuadam_cores_perc: foreign(0.8, 'the update has all cores of its rank'),
    }),
    zenflow: section({
      topk_ratio: later(0.1, ZENFLOW),
      select_strategy: later('auto', ZENFLOW),
      select_interval: later('auto', ZENFLOW),
      update_interval: later('auto', ZENFLOW),
      overlap_step: later(false, ZENFLOW),
      offload: later(false, ZENFLOW),
      auto_ratio: later(0.99, ZENFLOW),
      full_warm_up_rounds: later(0, ZENFLOW),
      pt_reserved_cores_perc: later(0.5, ZENFLOW),
      steps_per_epoch: later(null, ZENFLOW),
    }),
    zero_quantized_nontrainable_weights: off(false, ZERO_PLUS_PLUS),
    zeropp_loco_param: off(null, ZERO_PLUS_PLUS),
    mics_hierarchical_params_gather: foreign(
      false,
      'a group gathers by communication.algorithm, which may go by hosts as well',
    ),
    cpu_offload: removed('use offload_optimizer: {"device": "cpu"}'),
    cpu_offload_param: removed('use offload_param: {"device": "cpu"}'),
    cpu_offload_use_pin_memory: removed('use pin_memory in offload_param and offload_optimizer'),
    stage3_gather_fp16_weights_on_model_save: removed(
      'it is called stage3_gather_16bit_weights_on_model_save',
    ),
  }),
};
