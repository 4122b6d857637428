import { Buffer } from 'node:buffer';
import fs, { existsSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { RANK_DESCRIPTORS } from '../src/launch/rank-channel.js';

/** What goes wrong in a rank; in the environment of its run, as JSON. */
export interface Fault {
  readonly rank: number;
  /** Before its first step, or as soon as it comes to this one. */
  readonly at: 'start' | number;
  readonly how: 'killed' | 'hangs' | 'stopped';
  /** Exists once it has happened; then it happens only if it does so every time. */
  readonly mark: string;
  readonly times: 'once' | 'always' | 'after mark';
}

const SIGNALS = { killed: 'SIGKILL', hangs: undefined, stopped: 'SIGSTOP' } as const;

export const FAULT_VARIABLE = 'TEST_FAULT';

// Loaded before a rank's program (`node --import`): what the rank tells its supervisor of its place says where it is.
const fault = JSON.parse(process.env[FAULT_VARIABLE] ?? 'null') as Fault | null;
if (fault !== null && process.env.RANK === String(fault.rank)) watch(fault);

function watch({ at, how, mark, times }: Fault): void {
  const isDue = (): boolean =>
    times === 'always' || (times === 'once' ? !existsSync(mark) : existsSync(mark));
  const happen = (): void => {
    writeFileSync(mark, '');
    const signal = SIGNALS[how];
    if (signal !== undefined) process.kill(process.pid, signal);
    for (;;);
  };
  if (at === 'start') {
    if (isDue()) happen();
    return;
  }
  const { writeSync } = fs;
  fs.writeSync = ((descriptor: number, ...rest: [Buffer, number, number, number]): number => {
    const [record] = rest;
    const isPlace = descriptor === RANK_DESCRIPTORS.record && Buffer.isBuffer(record);
    if (isPlace && record.readDoubleLE(0) >= at && isDue()) {
      writeSync(descriptor, ...rest);
      happen();
    }
    return writeSync(descriptor, ...rest);
  }) as typeof fs.writeSync;
  syncBuiltinESMExports();
}
