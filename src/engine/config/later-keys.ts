import type { KeyTable } from './key-table.js';
import { later } from './key-table.js';

/** Trainyard's own keys that are planned, so that a configuration written for a later version says so. */
export const laterKeys: KeyTable = {
  memory_limit: later(null, 'memory limits come with offloading'),
};
