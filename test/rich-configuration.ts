import { goodConfiguration } from './bad-configurations.js';

/** A good configuration with a key of each section. */
export const richConfiguration = {
  ...goodConfiguration,
  seed: 0,
  optimizer: { type: 'AdamW', params: { lr: 3e-4, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1 } },
  scheduler: {
    type: 'OneCycle',
    params: { cycle_min_lr: 1e-5, cycle_max_lr: 1e-3, cycle_first_step_size: 10 },
  },
  zero_optimization: { stage: 0, reduce_bucket_size: 1000, overlap_comm: false, contiguous_gradients: true },
  fp16: { enabled: false, loss_scale: 0 },
  mesh: { pipeline: 1, tensor: 1 },
  communication: { algorithm: 'backend', timeout_seconds: 5 },
} as const;
