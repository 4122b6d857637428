import { native } from '../native/native.js';

/** How many threads libtorch uses inside one operator. */
export function setThreads(count: number): void {
  native.setThreads(count);
}

export function threads(): number {
  return native.threads();
}
