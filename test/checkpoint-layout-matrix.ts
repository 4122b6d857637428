import { rmSync } from 'node:fs';
import { layoutPairs, pairFault, STAGES_AND_RANKS } from './checkpoint-layouts.js';
import { memoryFolder } from './memory-folder.js';

// Checkpoints of ZeRO 0 to 3 on 1 to 4 ranks, each loaded in each: `node dist/test/checkpoint-layout-matrix.js`, 256 pairs.

const root = memoryFolder('trainyard-layouts-');
let [pairs, faults] = [0, 0];
for await (const pair of layoutPairs(root, STAGES_AND_RANKS)) {
  pairs += 1;
  const fault = pairFault(pair);
  if (fault !== undefined) {
    faults += 1;
    process.stdout.write(`FAULT ${fault}\n`);
  } else if (pair.from === STAGES_AND_RANKS.at(-1)) {
    process.stdout.write(`${pair.to.name}: all of its pairs so far as they should be\n`);
  }
}
rmSync(root, { recursive: true });
process.stdout.write(
  faults === 0 ? `all ${pairs} pairs as they should be\n` : `${faults} faults in ${pairs}\n`,
);
process.exitCode = faults === 0 && pairs === STAGES_AND_RANKS.length ** 2 ? 0 : 1;
