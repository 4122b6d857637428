import { TrainyardError } from '../base/errors.js';
import { cudaDeviceCount } from '../tensor/device-count.js';
import type { Device } from '../tensor/dtype.js';

/**
 * The device of a rank: the CPU, or the GPU that its number on this host chooses.
 *
 * @throws TrainyardError CONFIG_CONFLICT when there is no such GPU.
 */
export function deviceOf(kind: 'cpu' | 'cuda', localRank: number): Device {
  if (kind === 'cpu') return 'cpu';
  const count = cudaDeviceCount();
  if (localRank < count) return `cuda:${localRank}`;
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: `There is no GPU for local rank ${localRank}.`,
    where: 'device',
    expected: 'a CUDA device for every rank of this host',
    got: count === 0 ? 'no CUDA device, or a libtorch without CUDA' : `${count} CUDA devices`,
    cure: 'set "device": "cpu", start fewer ranks, or see `trainyard doctor`',
  });
}
