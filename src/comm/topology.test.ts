import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  agreedHosts,
  type Hosts,
  hostIndex,
  hostsOf,
  hostsOfSize,
  isRegular,
  laneMembers,
  lanesOf,
  topologyFault,
} from './topology.js';

test('hosts of one size take ranks in turn, the last what is left', () => {
  assert.deepEqual(hostsOfSize(5, 2), [[0, 1], [2, 3], [4]]);
  assert.deepEqual(hostsOfSize(2, 8), [[0, 1]]);
});

test('however ranks are named, each is on one host, with those of its name', () => {
  fc.assert(
    fc.property(fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 12 }), (names) => {
      const hosts = hostsByName(names);
      assert.deepEqual(
        hosts.flat().sort((left, right) => left - right),
        names.map((_, rank) => rank),
      );
      for (const [rank, name] of names.entries()) {
        const host = hosts[hostIndex(hosts, rank)] ?? [];
        assert.deepEqual(
          host,
          names.flatMap((other, index) => (other === name ? [index] : [])),
        );
      }
      assert.equal(topologyFault(hosts, names.length), undefined);
      assert.deepEqual(hostsOf([...hosts].reverse(), names.length), hosts);
    }),
  );
});

test('launchers are believed where they agree with themselves', () => {
  const said = (name: string, ranks: number) => ({ name, ranks });
  assert.deepEqual(agreedHosts([said('a', 2), said('a', 2), said('b', 1)]), [[0, 1], [2]]);
  assert.equal(agreedHosts([said('a', 2), said('b', 2), said('b', 2)]), undefined);
});

test('lanes are as many as the smallest host has ranks', () => {
  const hosts = [
    [0, 1, 2],
    [3, 4],
  ];
  assert.equal(lanesOf(hosts), 2);
  assert.deepEqual(laneMembers(hosts, 1), [1, 4]);
  assert.equal(isRegular(hosts), false);
  assert.equal(isRegular(hostsOfSize(6, 3)), true);
  assert.equal(
    isRegular([
      [0, 2],
      [1, 3],
    ]),
    false,
  );
});

/** The hosts of ranks that each know the name of theirs. */
function hostsByName(names: readonly string[]): Hosts {
  const said = names.map((name) => ({ name, ranks: names.filter((other) => other === name).length }));
  return agreedHosts(said) ?? [];
}
