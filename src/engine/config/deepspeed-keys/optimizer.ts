import type { KeyTable } from '../key-table.js';
import { foreign, later, laterValues, off, removed, section } from '../key-table.js';

const OTHER_OPTIMIZERS = 'only Adam, AdamW, OneBitAdam, SGD, Lion and Adagrad are here so far';
const ONE_BIT = 'of 1-bit optimizers only OneBitAdam is here so far';
const MUON = 'Muon is not here yet';
const LAMB = 'LAMB is not here yet';
const ONE_KIND = 'there is one implementation of each optimizer';

/** The optimizer and the schedule, beside what `src/optim/config.ts` declares. */
export const optimizerKeys: KeyTable = {
  optimizer: section({
    type: laterValues(
      [
        'Lamb',
        'ZeroOneAdam',
        'OneBitLamb',
        'MuAdam',
        'MuAdamW',
        'MuSGD',
        'Muon',
        'Adafactor',
        'Adadelta',
        'Adamax',
        'ASGD',
        'NAdam',
        'RAdam',
        'RMSprop',
        'Rprop',
        'SparseAdam',
        'LBFGS',
      ],
      OTHER_OPTIMIZERS,
    ),
    legacy_fusion: foreign(false, ONE_KIND),
    params: section({
      torch_adam: foreign(false, ONE_KIND),
      fp32_optimizer_states: off(true, 'moments are always fp32'),
      bias_correction: off(true, 'the bias is always corrected'),
      amsgrad: off(false, 'AMSGrad is not here yet'),
      initial_accumulator_value: off(0, 'sums of squares begin with zero'),
      maximize: off(false, 'the loss is always minimised'),
      capturable: foreign(false, 'it is about CUDA graphs in PyTorch'),
      differentiable: foreign(false, 'the update is never differentiated'),
      foreach: foreign(null, ONE_KIND),
      fused: foreign(null, ONE_KIND),
      max_grad_norm: removed('DeepSpeed refuses it too: use gradient_clipping'),
      muon_lr: later(null, MUON),
      adam_lr: later(null, MUON),
      ns_method: later('gram', MUON),
      cuda_aware: foreign(false, 'it is about MPI'),
      comm_backend_name: foreign('nccl', 'communication.algorithm says how ranks exchange'),
      var_freeze_step: later(100000, ONE_BIT),
      var_update_scaler: later(16, ONE_BIT),
      local_step_scaler: later(32678, ONE_BIT),
      local_step_clipper: later(16, ONE_BIT),
      coeff_beta: later(0.9, ONE_BIT),
      factor_max: later(4, ONE_BIT),
      factor_min: later(0.5, ONE_BIT),
      factor_threshold: later(0.1, ONE_BIT),
      max_coeff: later(10, LAMB),
      min_coeff: later(0.01, LAMB),
    }),
  }),
  scheduler: section({
    type: laterValues(
      [
        'LambdaLR',
        'MultiplicativeLR',
        'StepLR',
        'MultiStepLR',
        'ConstantLR',
        'LinearLR',
        'ExponentialLR',
        'PolynomialLR',
        'CosineAnnealingLR',
        'CosineAnnealingWarmRestarts',
        'ChainedScheduler',
        'SequentialLR',
        'ReduceLROnPlateau',
        'CyclicLR',
        'OneCycleLR',
      ],
      "only DeepSpeed's own schedules are here, not torch's",
    ),
    params: section({
      last_batch_iteration: off(-1, 'the step of a resumed run comes from its checkpoint'),
    }),
  }),
};
