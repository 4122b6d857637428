import { native } from '../native/native.js';

/** How many CUDA devices this process can use; 0 with a libtorch that has no CUDA. */
export function cudaDeviceCount(): number {
  return native.cudaDeviceCount();
}
