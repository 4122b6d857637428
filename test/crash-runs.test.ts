import assert from 'node:assert/strict';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { compareWithKills, SpareRanks } from './crash-runs.js';
import { memoryFolder } from './memory-folder.js';
import { chanceOf } from './store-simulated-disk.js';

// A thin slice of `node dist/test/crash-matrix.js`.

const spares = new SpareRanks();
let folder = '';
before(() => {
  folder = memoryFolder('trainyard-crash-');
  writeFileSync(
    join(folder, 'text.txt'),
    'Two trains leave the yard, and one of them comes back. '.repeat(80),
  );
});
after(() => {
  spares.end();
  rmSync(folder, { recursive: true });
});

for (const [stage, ranks, decoupled, times] of [
  [0, 2, true, 10],
  [3, 2, false, 10],
] as const) {
  test(`ZeRO ${stage} on ${ranks}, ${times} times a rank is killed: the run that was never killed, to the last bit`, async () => {
    const setup = { stage, ranks, decoupled, folder };
    const { kills } = await compareWithKills(setup, spares, times, chanceOf(stage * 10 + ranks));
    assert.ok(kills >= times, `${kills} kills`);
  });
}
