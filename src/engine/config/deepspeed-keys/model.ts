import type { KeyTable } from '../key-table.js';
import { dead, foreign, later, off, section, switched } from '../key-table.js';

const KEPT_INPUTS = 'the inputs that recomputation keeps are one tensor a block; see `recompute`';
const SEQUENCE = 'what stages hand on is divided where mesh.sequence_parallel divides it';
const TABLES = 'every model has a table that says how its parameters are divided';
const EXPERTS = 'expert parallelism is not here yet';
const COMPILE = 'DeepCompile is about PyTorch graphs';
const HYBRID = 'the hybrid engine is not here yet';
const COMPRESSION = 'model compression is not here yet';
const LAYER_DROP = 'progressive layer dropping is not here yet';
const EIGENVALUE = 'DeepSpeed itself refuses it at present';
const SPARSE = 'DeepSpeed parses it and no engine code reads it';

/** What happens inside the model: recomputation, model parallelism, experts, compilation, compression. */
export const modelKeys: KeyTable = {
  activation_checkpointing: section({
    partition_activations: off(false, 'mesh.sequence_parallel divides them over the ranks of a layer'),
    contiguous_memory_optimization: off(false, KEPT_INPUTS),
    number_checkpoints: off(
      null,
      'every block that is recomputed keeps its input; choose them with `recompute`',
    ),
    synchronize_checkpoint_boundary: off(false, 'the step program orders recomputation'),
    profile: off(false, 'each recomputation is an instruction with a time of its own'),
  }),
  pipeline: section({
    pipe_partitioned: foreign(true, SEQUENCE),
    grad_partitioned: foreign(true, SEQUENCE),
    use_reentrant: foreign(true, 'it is about PyTorch checkpointing'),
    stages: dead('auto', 'only the arguments of PipelineModule count; here it is mesh.pipeline'),
    seed_layers: dead(false, 'only the arguments of PipelineModule count'),
  }),
  tensor_parallel: section({
    dtype: foreign(null, 'the precision of the run decides'),
    tp_overlap_comm: off(false, 'sums inside a layer are waited for'),
    preset_model: foreign(null, TABLES),
    keep_module_on_host: foreign(false, 'every rank reads its own part alone'),
    kernel_inject: foreign(false, 'it is about inference in PyTorch'),
    injection_policy_tuple: foreign(null, TABLES),
    replace_with_kernel_inject: foreign(false, 'it is about inference in PyTorch'),
    tp: section({
      tp_size: later(1, 'write mesh.tensor or tensor_parallel.autotp_size'),
      tp_grain_size: off(1, 'heads are divided whole, and all else evenly'),
      mpu: foreign(null, 'the mesh says which ranks there are'),
      tp_group: foreign(null, 'the mesh says which ranks there are'),
    }),
    partition_config: section({
      use_default_specs: foreign(true, TABLES),
      embedding_partition_dim: foreign(1, 'tables over tokens are divided by their rows'),
      lm_head_patterns: foreign([], TABLES),
    }),
  }),
  use_data_before_expert_parallelism: off(false, EXPERTS),
  expert_parallel: switched('enabled', false, EXPERTS, {
    autoep_size: later(1, EXPERTS),
    preset_model: later(null, EXPERTS),
    use_grouped_mm: later(true, EXPERTS),
    top_k: later('auto', EXPERTS),
    score_func: later('auto', EXPERTS),
    score_apply: later('auto', EXPERTS),
    combine_impl: later('auto', EXPERTS),
    expert_tensor_parallel_size: later(1, EXPERTS),
    load_balance_coeff: later(null, EXPERTS),
    disable_triton_grouped_mm: later(null, EXPERTS),
    route_norm: later(null, EXPERTS),
    route_scale: later(null, EXPERTS),
    num_expert_groups: later(null, EXPERTS),
    num_limited_groups: later(null, EXPERTS),
    routed_scaling_factor: later(null, EXPERTS),
    validate_folding_routing: later(null, EXPERTS),
    moe_layer_pattern: later(null, EXPERTS),
    router_pattern: later(null, EXPERTS),
    expert_pattern: later(null, EXPERTS),
    expert_w1: later(null, EXPERTS),
    expert_w2: later(null, EXPERTS),
    expert_w3: later(null, EXPERTS),
    num_experts_attr: later(null, EXPERTS),
    top_k_attr: later(null, EXPERTS),
    has_shared_experts: later(null, EXPERTS),
    shared_experts_pattern: later(null, EXPERTS),
    shared_experts_gate_pattern: later(null, EXPERTS),
  }),
  compile: switched('deepcompile', false, COMPILE, {
    passes: later(null, COMPILE),
    free_activation: later(false, COMPILE),
    free_activation_threshold: later(10 * 2 ** 20, COMPILE),
    offload_activation: later(false, COMPILE),
    offload_activation_pin_memory: later(true, COMPILE),
    offload_opt_states: later(false, COMPILE),
    offload_parameters: later(false, COMPILE),
    double_buffer: later(true, COMPILE),
    symmetric_memory: later(false, COMPILE),
    debug_log: later(false, COMPILE),
    sync_before_reduce: later(false, COMPILE),
    sync_after_reduce: later(false, COMPILE),
    sync_before_allgather: later(false, COMPILE),
    sync_after_allgather: later(false, COMPILE),
    keep_int_input_tensors: later(true, COMPILE),
    keep_all_input_tensors: later(false, COMPILE),
  }),
  hybrid_engine: switched('enabled', false, HYBRID, {
    max_out_tokens: later(512, HYBRID),
    inference_tp_size: later(1, HYBRID),
    release_inference_cache: later(false, HYBRID),
    pin_parameters: later(true, HYBRID),
    tp_gather_partition_size: later(8, HYBRID),
    enable_cuda_graph: later(false, HYBRID),
  }),
  compression_training: section({
    weight_quantization: later({}, COMPRESSION),
    activation_quantization: later({}, COMPRESSION),
    sparse_pruning: later({}, COMPRESSION),
    row_pruning: later({}, COMPRESSION),
    head_pruning: later({}, COMPRESSION),
    channel_pruning: later({}, COMPRESSION),
    layer_reduction: switched('enabled', false, COMPRESSION, {
      keep_number_layer: later(null, COMPRESSION),
      module_name_prefix: later(null, COMPRESSION),
      teacher_layer: later([], COMPRESSION),
      other_module_name: later([], COMPRESSION),
    }),
  }),
  quantize_training: later({}, COMPRESSION),
  weight_quantization: section({
    quantized_initialization: later({}, COMPRESSION),
    post_init_quant: later({}, COMPRESSION),
  }),
  progressive_layer_drop: switched('enabled', false, LAYER_DROP, {
    theta: later(1.0, LAYER_DROP),
    gamma: later(0.001, LAYER_DROP),
  }),
  eigenvalue: switched('enabled', false, EIGENVALUE, {
    verbose: later(false, EIGENVALUE),
    max_iter: later(100, EIGENVALUE),
    tol: later(1e-2, EIGENVALUE),
    stability: later(1e-6, EIGENVALUE),
    gas_boundary_resolution: later(1, EIGENVALUE),
    layer_name: later('bert.encoder.layer', EIGENVALUE),
    layer_num: later(0, EIGENVALUE),
  }),
  sparse_attention: dead({}, SPARSE),
  vocabulary_size: dead(null, 'beyond one warning, no code reads it'),
};
