import type { PlacementTable } from '../../nn/divide.js';
import { EVERYWHERE, VOCABULARY } from '../placements.js';
import type { Gpt2Config } from './gpt2-config.js';

/** How every parameter lies on a tensor axis. Queries, keys and values are side by side in one matrix. */
export function gpt2Placements({ heads }: Pick<Gpt2Config, 'heads'>): PlacementTable {
  const queryKeyValue = { by: 'column', heads, sections: 3 } as const;
  return {
    'wte.weight': VOCABULARY,
    'wpe.weight': EVERYWHERE,
    'ln_1.weight': EVERYWHERE,
    'ln_1.bias': EVERYWHERE,
    'attn.c_attn.weight': queryKeyValue,
    'attn.c_attn.bias': queryKeyValue,
    'attn.c_proj.weight': { by: 'row', heads },
    'attn.c_proj.bias': EVERYWHERE,
    'ln_2.weight': EVERYWHERE,
    'ln_2.bias': EVERYWHERE,
    'mlp.c_fc.weight': { by: 'column' },
    'mlp.c_fc.bias': { by: 'column' },
    'mlp.c_proj.weight': { by: 'row' },
    'mlp.c_proj.bias': EVERYWHERE,
    'transformer.ln_f.weight': EVERYWHERE,
    'transformer.ln_f.bias': EVERYWHERE,
    'lm_head.weight': VOCABULARY,
  };
}
