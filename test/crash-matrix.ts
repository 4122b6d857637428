import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type CrashSetup, compareWithKills, SpareRanks } from './crash-runs.js';
import { memoryFolder } from './memory-folder.js';
import { chanceOf } from './store-simulated-disk.js';

// kill -9 of a random rank at random instants, ZeRO 0 to 3 × 2 and 4 ranks: `node dist/test/crash-matrix.js`.
//
//   --times N  how many kills in all (default 200)
//   --seed N   of the instants (default 1)

const { values } = parseArgs({
  options: { times: { type: 'string', default: '200' }, seed: { type: 'string', default: '1' } },
});
const folder = memoryFolder('trainyard-crash-');
writeFileSync(join(folder, 'text.txt'), 'Two trains leave the yard, and one of them comes back. '.repeat(80));
const setups = [0, 1, 2, 3].flatMap((stage) =>
  [2, 4].map((ranks) => ({ stage, ranks, folder, decoupled: (stage + ranks / 2) % 2 === 0 }) as CrashSetup),
);
const times = Number(values.times);
const chance = chanceOf(Number(values.seed));
const spares = new SpareRanks();
let [done, faults, mostLost] = [0, 0, 0];
for (const [index, setup] of setups.entries()) {
  const name = `ZeRO ${setup.stage} on ${setup.ranks}${setup.decoupled ? ', decoupled' : ''}`;
  const kills = Math.ceil((times - done) / (setups.length - index));
  try {
    const killed = await compareWithKills(setup, spares, kills, chance);
    done += killed.kills;
    mostLost = Math.max(mostLost, killed.mostLost);
    process.stdout.write(
      `${name}: ${killed.kills} kills in ${killed.runs} runs, each the one that nobody killed; at most ${killed.mostLost} steps lost\n`,
    );
  } catch (error) {
    faults += 1;
    process.stdout.write(`FAULT ${name}: ${error instanceof Error ? error.message : String(error)}\n`);
  }
}
spares.end();
rmSync(folder, { recursive: true });
process.stdout.write(
  `${done} kills, ${faults} faults, at most ${mostLost} steps lost, seed ${values.seed}\n`,
);
process.exitCode = faults === 0 && done >= times ? 0 : 1;
