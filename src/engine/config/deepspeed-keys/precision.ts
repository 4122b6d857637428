import type { KeyTable } from '../key-table.js';
import { foreign, later, off, section, switched } from '../key-table.js';

const FP16 = 'so far everything is computed in fp32';
const BF16 = FP16;
const AMP = 'Apex is a Python library; use fp16 or bf16 when they come';

const bf16 = switched('enabled', false, BF16, {
  immediate_grad_update: later(false, BF16),
  check_grad_overflow: later(true, BF16),
  bf16_master_weights_and_grads: later(false, BF16),
  bf16_optimizer_states: later(false, BF16),
});

/** Number formats of computation and storage. */
export const precisionKeys: KeyTable = {
  fp16: switched('enabled', false, FP16, {
    auto_cast: later(false, FP16),
    loss_scale: later(0, FP16),
    initial_scale_power: later(16, FP16),
    loss_scale_window: later(1000, FP16),
    hysteresis: later(2, FP16),
    consecutive_hysteresis: later(false, FP16),
    min_loss_scale: later(1, FP16),
    fp16_master_weights_and_grads: later(false, FP16),
  }),
  bf16,
  bfloat16: bf16,
  torch_autocast: switched('enabled', false, FP16, {
    dtype: later(null, FP16),
    lower_precision_safe_modules: later([], FP16),
  }),
  amp: switched('enabled', false, AMP, {
    opt_level: foreign(null, AMP),
    loss_scale: foreign(null, AMP),
  }),
  data_types: section({
    grad_accum_dtype: off('fp32', FP16),
    param_dtype: off('fp32', FP16),
    buffer_dtype: off('fp32', FP16),
  }),
};
