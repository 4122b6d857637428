import { communicationKeys } from './deepspeed-keys/communication.js';
import { dataKeys } from './deepspeed-keys/data.js';
import { modelKeys } from './deepspeed-keys/model.js';
import { observationKeys } from './deepspeed-keys/observation.js';
import { optimizerKeys } from './deepspeed-keys/optimizer.js';
import { precisionKeys } from './deepspeed-keys/precision.js';
import { runKeys } from './deepspeed-keys/run.js';
import { zeroKeys } from './deepspeed-keys/zero.js';
import type { KeyTable } from './key-table.js';

/**
 * Every key that DeepSpeed's `ds_config.json` knows (deepspeedai/DeepSpeed edaa7221, version 0.19.6) and that
 * Trainyard does not act on, with the reason. Keys that do act are declared by the schemas.
 */
export const deepSpeedKeys: KeyTable = {
  ...runKeys,
  ...optimizerKeys,
  ...precisionKeys,
  ...communicationKeys,
  ...zeroKeys,
  ...modelKeys,
  ...dataKeys,
  ...observationKeys,
};
