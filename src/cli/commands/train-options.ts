import type { ConfigOptions } from '../program/option-values.js';
import type { RanksOption } from '../ranks-option.js';

/** Of `trainyard train`, as commander reads them. */
export interface TrainOptions extends ConfigOptions {
  readonly ranks?: RanksOption;
  readonly maxRestarts?: number;
  readonly hangTimeout: number;
  readonly hostfile?: string;
  readonly include?: string;
  readonly exclude?: string;
  readonly masterAddr?: string;
  readonly masterPort?: number;
  readonly insecureNetwork?: boolean;
  readonly resume?: boolean;
  readonly timeline?: string;
}
