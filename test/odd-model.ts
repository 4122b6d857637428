/** Odd sizes wherever they may be; layers are longer than the shortest tile of offloaded states, which has 2048 elements. */
export const ODD_MODEL = {
  architecture: 'llama',
  vocab_size: 37,
  hidden_size: 20,
  intermediate_size: 47,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  head_dim: 10,
} as const;
