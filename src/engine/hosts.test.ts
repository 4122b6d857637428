import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SingleGroup } from '../comm/process-group/single.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { Tensor } from '../tensor/tensor.js';
import { hostsOfRanks } from './hosts.js';

/** A rank among others, of which it hears what it says itself but for the name of the host. */
function groupOf(names: readonly string[], own: string): ProcessGroup {
  const group = Object.create(new SingleGroup()) as ProcessGroup & { worldSize: number };
  return Object.assign(group, {
    worldSize: names.length,
    allGather: (output: Tensor, input: Tensor) => {
      const said = Buffer.from(input.toBytes());
      for (const [rank, name] of names.entries()) {
        const text = Buffer.from(said.toString('latin1').replace(own, name), 'latin1');
        const values = [...text];
        for (const [index, value] of values.entries())
          output.narrow(0, rank * said.length + index, 1).fill_(value);
      }
      return { wait: () => {} };
    },
  });
}

test('ranks share a host as their launchers say, one after the other or not', () => {
  const names = ['a', 'b', 'a', 'b'];
  const place = { hostName: 'a', localWorldSize: 2 };
  assert.deepEqual(hostsOfRanks(groupOf(names, 'a'), place, undefined), [
    [0, 2],
    [1, 3],
  ]);
  // Launchers that contradict themselves: as one, which then finds out whether it can share memory.
  assert.deepEqual(hostsOfRanks(groupOf(['a', 'a', 'b', 'a'], 'a'), place, undefined), [[0, 1, 2, 3]]);
});
