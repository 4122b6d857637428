import { native } from '../native/native.js';

/** Bytes of all tensors in host memory. Views count nothing, nor does memory that libtorch did not allocate. */
export function allocatedBytes(): number {
  return native.allocatedBytes();
}

/** The most that `allocatedBytes` was since the process began or the peak was last reset. */
export function peakAllocatedBytes(): number {
  return native.peakAllocatedBytes();
}

/** Lets the peak begin anew, at what is allocated now. */
export function resetPeakAllocatedBytes(): void {
  native.resetPeakAllocatedBytes();
}
