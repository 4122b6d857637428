import { parseArgs } from 'node:util';
import type { Choice } from '../src/comm/choose-algorithm.js';
import type { SumTask } from './network-hosts-program.js';
import { type LimitedNetwork, linkSeconds, secondsOf, sumsOnHosts } from './network-hosts-sums.js';

/**
 * What all-reduces between hosts take beside what the links alone would: `node dist/test/network-hosts-times.js`, on a machine
 * that does nothing else. The hosts are those of test/network-hosts.test.ts.
 *
 *   --mebibytes N    of the tensor (default 4)
 *   --repetitions N  of each, of which the best is told (default 2)
 */
const { values } = parseArgs({
  options: {
    mebibytes: { type: 'string', default: '4' },
    repetitions: { type: 'string', default: '2' },
  },
});
const bytes = Number(values.mebibytes) * 2 ** 20;
const repetitions = Number(values.repetitions);

const NETWORKS: readonly (LimitedNetwork & {
  readonly algorithms: readonly (Choice & SumTask['algorithm'])[];
})[] = [
  { hosts: 2, joining: 'switch', megabitsPerSecond: 50, algorithms: ['ring', 'hierarchical'] },
  { hosts: 4, joining: 'switch', megabitsPerSecond: 25, algorithms: ['ring', 'hierarchical'] },
  { hosts: 4, joining: 'ring', megabitsPerSecond: 25, algorithms: ['ring', 'bidirectional-ring'] },
];

for (const { algorithms, ...network } of NETWORKS) {
  const tasks = Object.fromEntries([...algorithms, 'auto'].map((each) => [each, { bytes, repetitions }]));
  const sums = await sumsOnHosts(network, tasks);
  const told = algorithms.map((algorithm) => {
    const links = linkSeconds(network, algorithm, bytes);
    return `${algorithm} ${secondsOf(sums, algorithm).toFixed(2)} (links alone ${links.toFixed(2)})`;
  });
  const chosen = sums.reports[0]?.chosen ?? 'nothing';
  told.push(`auto ${secondsOf(sums, 'auto').toFixed(2)}, ${chosen}`);
  const connecting = (algorithm: SumTask['algorithm']): string =>
    Math.max(
      ...sums.reports.map(
        (report) => report.sums.find((each) => each.algorithm === algorithm)?.connectingSeconds ?? 0,
      ),
    ).toFixed(2);
  told.push(`connected in ${connecting('ring')}, with measuring in ${connecting('auto')}`);
  process.stdout.write(
    `${network.hosts} hosts, ${network.joining}, ${network.megabitsPerSecond} Mbit/s, seconds: ${told.join('; ')}\n`,
  );
}
