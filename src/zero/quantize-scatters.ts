import type { ActiveCompression } from '../comm/config.js';
import { compressionName } from '../step/compressed-messages.js';
import type { Pass } from '../step/program.js';
import { compressExchanges } from './compress-exchanges.js';

/**
 * Gradients travel between hosts as whole numbers of a scale, after the ranks of each host have added theirs up in full
 * precision (DeepSpeed: zero_quantized_gradients; ZeRO++, arXiv 2306.10209): every `scatter` that the program has by
 * now. On one host nothing is left to compress: what its ranks say to each other is the hop that stays as it is.
 */
export function quantizeScatters(compression: ActiveCompression): Pass {
  return (program) => {
    const { hosts = [] } = program;
    if (hosts.length < 2) return program;
    const feature = `gradients in ${compressionName(compression)} between ${hosts.length} hosts`;
    return compressExchanges({ kinds: ['scatter'], compression, betweenHosts: true }, feature)(program);
  };
}
