/** Models whose ledgers are compared with what is measured: small, and of sizes that nothing divides evenly. */
export const LEDGER_LLAMA = {
  architecture: 'llama',
  vocab_size: 251,
  hidden_size: 48,
  intermediate_size: 130,
  num_hidden_layers: 5,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  max_position_embeddings: 128,
} as const;
