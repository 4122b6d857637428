import { native } from '../native/native.js';
import type { Device } from './dtype.js';

/** Seeds the default generators of every device. `seed` is a non-negative integer. */
export function manualSeed(seed: number | bigint): void {
  native.manualSeed(BigInt(seed));
}

/** The state of a device's default generator; setting it replays the same random numbers. */
export function randomState(device: Device = 'cpu'): Uint8Array {
  return native.randomState(device);
}

export function setRandomState(state: Uint8Array, device: Device = 'cpu'): void {
  native.setRandomState(device, state);
}
