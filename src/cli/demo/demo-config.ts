/** What the demonstration trains: small enough for minutes on two cores, large enough to learn to write. */
export const DEMO_VOCABULARY_SIZE = 2048;
export const DEMO_SEQUENCE_LENGTH = 128;
export const DEMO_RANKS = 2;

/** Where the demonstration keeps what it makes. */
export interface DemoPaths {
  readonly config: string;
  readonly tokenizer: string;
  /** The trained model, in Hugging Face's layout. */
  readonly model: string;
}

/** The configuration of the demonstration run; it is written to a file for people to read and change. */
export function demoConfig(data: readonly string[], paths: DemoPaths, steps: number) {
  return {
    model: {
      architecture: 'llama',
      vocab_size: DEMO_VOCABULARY_SIZE,
      hidden_size: 256,
      intermediate_size: 704,
      num_hidden_layers: 4,
      num_attention_heads: 8,
      num_key_value_heads: 4,
      max_position_embeddings: 512,
      tie_word_embeddings: true,
    },
    data: { path: [...data], tokenizer: paths.tokenizer, sequence_length: DEMO_SEQUENCE_LENGTH },
    steps,
    seed: 0,
    output: paths.model,
    train_batch_size: 16,
    train_micro_batch_size_per_gpu: 16 / DEMO_RANKS,
    gradient_clipping: 1,
    optimizer: { type: 'AdamW', params: { lr: 2e-3, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1 } },
    scheduler: { type: 'WarmupCosineLR', params: { warmup_num_steps: 30 } },
  };
}
