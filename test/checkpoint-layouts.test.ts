import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { KINDS_OF_LAYOUTS, layoutPairs, pairFault } from './checkpoint-layouts.js';
import { memoryFolder } from './memory-folder.js';

let root = '';
before(() => {
  root = memoryFolder('trainyard-layouts-');
});
after(() => rmSync(root, { recursive: true }));

test('every layout goes on from the checkpoint of every other: state to the last bit, losses in tolerance', async () => {
  const faults: string[] = [];
  let pairs = 0;
  for await (const pair of layoutPairs(root, KINDS_OF_LAYOUTS)) {
    pairs += 1;
    const fault = pairFault(pair);
    if (fault !== undefined) faults.push(fault);
  }
  assert.deepEqual(faults, []);
  assert.equal(pairs, KINDS_OF_LAYOUTS.length ** 2);
});
