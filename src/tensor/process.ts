import { native } from '../native/native.js';

/** Asks the kernel to end this process when the one that started it dies; false where it cannot. */
export function dieWithParent(): boolean {
  return native.dieWithParent();
}

/**
 * Starts a native thread that writes the time into an open file every so many milliseconds, while JavaScript is busy or stuck
 * too: another process can tell whether this one runs.
 */
export function startHeartbeat(descriptor: number, byteOffset: number, intervalMs: number): void {
  native.startHeartbeat(descriptor, byteOffset, intervalMs);
}

/** Ends the process without the destructors of libtorch and Gloo, whose threads sometimes abort in theirs. */
export function leaveProcess(exitCode: number): never {
  return native.exitNow(exitCode);
}

/** The version of the libtorch that is loaded, such as "2.13.0". */
export function libtorchVersion(): string {
  return native.libtorchVersion();
}
