import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { type DiskPasses, findDiskPeer } from '../bench/disk-peer.js';
import { type BenchComparison, median } from '../bench/peer.js';

export interface BenchIoOptions extends BenchComparison {
  readonly folder: string;
  readonly bytes: number;
}

const GIGABYTE = 1e9;

/**
 * Prints how fast a folder's disk is read and written as offloaded memory is, in turns with `fio` or else `dd`, and the
 * median ratios: above 1 we are faster.
 */
export async function benchIo({ folder: path, bytes, rounds, json }: BenchIoOptions): Promise<void> {
  const { aioSchema, measureFile, openDirectFolder } = await import('../../store/index.js');
  const peer = findDiskPeer();
  const options = { setting: '--folder', mark: 'bench', aio: aioSchema.parse({}) };
  const folder = openDirectFolder(path, options);
  const peerFile = join(path, '.trainyard-bench-io');
  try {
    // The peer has a file of as many bytes beside ours.
    folder.demandSpace(2 * bytes);
    const file = folder.create('zeros', bytes);
    const own: DiskPasses[] = [];
    const other: DiskPasses[] = [];
    // The first turn gives both files their places on the disk, and is not counted.
    for (let round = 0; round <= rounds; round += 1) {
      const [ours, theirs] = [measureFile(file), peer.measure(peerFile, bytes)];
      if (round > 0) own.push(ours);
      if (round > 0) other.push(theirs);
    }
    file.close();
    print({ chosen: folder.describe(), peer: peer.name, bytes, own, other }, json === true);
  } finally {
    rmSync(peerFile, { force: true });
    folder.close();
  }
}

interface Measured {
  readonly chosen: string;
  readonly peer: string;
  readonly bytes: number;
  readonly own: readonly DiskPasses[];
  readonly other: readonly DiskPasses[];
}

function print({ chosen, peer, bytes, own, other }: Measured, asJson: boolean): void {
  const rate = (passes: readonly DiskPasses[], kind: keyof DiskPasses): number =>
    bytes / GIGABYTE / median(passes.map((pass) => pass[kind]));
  const compared = (kind: keyof DiskPasses) => ({
    gb_s: rate(own, kind),
    peer_gb_s: rate(other, kind),
    ratio: median(own.map((pass, round) => (other[round]?.[kind] ?? Number.NaN) / pass[kind])),
  });
  const [write, read] = [compared('write'), compared('read')];
  if (asJson) {
    process.stdout.write(`${JSON.stringify({ chosen, peer, bytes, write, read })}\n`);
    return;
  }
  const line = (name: string, { gb_s, peer_gb_s, ratio }: typeof write): string =>
    `${name}   ${gb_s.toFixed(2)} GB/s   ${peer} ${peer_gb_s.toFixed(2)} GB/s   ratio ${ratio.toFixed(2)}`;
  process.stdout.write(`${chosen}\n${line('write', write)}\n${line('read ', read)}\n`);
}
