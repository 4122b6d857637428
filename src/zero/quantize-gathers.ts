import type { ActiveCompression } from '../comm/config.js';
import { compressionName } from '../step/compressed-messages.js';
import type { Pass } from '../step/program.js';
import { compressExchanges } from './compress-exchanges.js';

/**
 * Parameters travel as whole numbers of a scale (DeepSpeed: zero_quantized_weights; ZeRO++, arXiv 2306.10209): every
 * `gather` that the program has by now. What owners update and checkpoints keep stays fp32.
 */
export function quantizeGathers(compression: ActiveCompression): Pass {
  return compressExchanges({ kinds: ['gather'], compression }, `weights in ${compressionName(compression)}`);
}
