import { createHash } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { invariant } from '../base/errors.js';
import type { ProcessGroup } from '../comm/process-group.js';
import {
  type ConstantsSize,
  openConstants,
  shareConstants,
} from '../tensor/constant-memory/shared-memory.js';
import type { ConstantMemory } from '../tensor/constant-memory.js';
import { gatherBytes } from './gather-bytes.js';

/** Four numbers as text, two of them of 64 bits. */
const ADDRESS_BYTES = 96;

/**
 * What the ranks of one host make once and all read: the first of them fills it, and the others open it. On systems
 * that have no such memory each rank makes its own.
 */
export class HostConstants {
  readonly #group: ProcessGroup;
  /** The rank that fills what this rank reads. */
  readonly #leader: number;

  /** Every rank must call it: the ranks find out which of them are on one host. */
  constructor(group: ProcessGroup) {
    this.#group = group;
    const own = hostIdentity(group.rank);
    this.#leader = gatherBytes(group, own).findIndex((other) => Buffer.compare(other, own) === 0);
  }

  /**
   * Every rank must call it, in the same order.
   *
   * @param fill writes the memory, where it must be written; as in `shareConstants`
   * @throws TrainyardError DATA_UNREADABLE
   */
  share(size: ConstantsSize, fill: (memory: ConstantMemory) => unknown): ConstantMemory {
    const made = this.#leader === this.#group.rank ? shareConstants(size, fill) : undefined;
    const own = Buffer.from((made?.address ?? '').padEnd(ADDRESS_BYTES));
    const addresses = gatherBytes(this.#group, own);
    if (made !== undefined) return made.memory;
    const address = addresses[this.#leader];
    invariant(address !== undefined, 'the first rank of a host shares');
    return openConstants(Buffer.from(address).toString().trimEnd(), size.tensorBytes);
  }
}

/** Equal for processes that can open each other's memory: of one start of one machine, in one container. */
function hostIdentity(rank: number): Uint8Array {
  const parts =
    process.platform === 'linux'
      ? [
          hostname(),
          readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'),
          readlinkSync('/proc/self/ns/pid'),
        ]
      : [`rank ${rank}`];
  return createHash('sha256').update(parts.join('\n')).digest();
}
