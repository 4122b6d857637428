import type { KeyTable } from '../key-table.js';
import { foreign, later, off, section, switched } from '../key-table.js';

const MASTERS = 'the optimizer always keeps weights and states in fp32';
const AUTOCAST = 'a run computes in one precision: use bf16 or fp16';
const ACCUMULATION = 'gradients always add up in fp32';
const STORED = 'weights are stored in fp32, and computed with as fp16 or bf16 say';
const AMP = 'Apex is a Python library; use fp16 or bf16';

const bf16 = section({
  immediate_grad_update: foreign(false, 'gradients add up in fp32 as soon as they are made'),
  bf16_master_weights_and_grads: off(false, MASTERS),
  bf16_optimizer_states: off(false, MASTERS),
});

/** Number formats of computation and storage. */
export const precisionKeys: KeyTable = {
  fp16: section({
    auto_cast: foreign(false, 'inputs are token ids, which are not cast'),
    fp16_master_weights_and_grads: off(false, MASTERS),
  }),
  bf16,
  bfloat16: bf16,
  torch_autocast: switched('enabled', false, AUTOCAST, {
    dtype: later(null, AUTOCAST),
    lower_precision_safe_modules: later([], AUTOCAST),
  }),
  amp: switched('enabled', false, AMP, {
    opt_level: foreign(null, AMP),
    loss_scale: foreign(null, AMP),
  }),
  data_types: section({
    grad_accum_dtype: off('fp32', ACCUMULATION),
    param_dtype: off('fp32', STORED),
    buffer_dtype: off('fp32', STORED),
  }),
};
