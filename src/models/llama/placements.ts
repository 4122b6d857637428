import type { PlacementTable } from '../../nn/divide.js';
import { EVERYWHERE, INSIDE, VOCABULARY } from '../placements.js';
import type { LlamaConfig } from './llama-config.js';

/** How every parameter of the family lies on a tensor axis. */
export function llamaPlacements({
  queryHeads,
  keyValueHeads,
}: Pick<LlamaConfig, 'queryHeads' | 'keyValueHeads'>): PlacementTable {
  const query = { by: 'column', heads: queryHeads } as const;
  const keyValue = { by: 'column', heads: keyValueHeads } as const;
  const column = { by: 'column' } as const;
  return {
    'embed_tokens.weight': VOCABULARY,
    'input_layernorm.weight': EVERYWHERE,
    'self_attn.q_proj.weight': query,
    'self_attn.q_proj.bias': query,
    'self_attn.k_proj.weight': keyValue,
    'self_attn.k_proj.bias': keyValue,
    'self_attn.v_proj.weight': keyValue,
    'self_attn.v_proj.bias': keyValue,
    'self_attn.q_norm.weight': INSIDE,
    'self_attn.k_norm.weight': INSIDE,
    'self_attn.o_proj.weight': { by: 'row', heads: queryHeads },
    'self_attn.o_proj.bias': EVERYWHERE,
    'post_attention_layernorm.weight': EVERYWHERE,
    'mlp.gate_proj.weight': column,
    'mlp.gate_proj.bias': column,
    'mlp.up_proj.weight': column,
    'mlp.up_proj.bias': column,
    'mlp.down_proj.weight': { by: 'row' },
    'mlp.down_proj.bias': EVERYWHERE,
    'model.norm.weight': EVERYWHERE,
    'lm_head.weight': VOCABULARY,
  };
}
