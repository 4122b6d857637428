import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseMasterAddress, type MasterChoice } from './master-address.js';

const NAMES: Readonly<Record<string, readonly string[]>> = {
  'node-1': ['10.0.0.1'],
  'node-2': ['10.0.0.2'],
  outside: ['198.51.100.7'],
  localhost: ['::1', '127.0.0.1'],
};

function choose(choice: Partial<MasterChoice>): Promise<string> {
  return chooseMasterAddress({
    hosts: ['node-1', 'node-2'],
    addresses: [],
    allowPublic: false,
    resolve: async (name) => NAMES[name] ?? (/^[\d.]+$/.test(name) ? [name] : []),
    ...choice,
  });
}

function own(...addresses: readonly string[]): MasterChoice['addresses'] {
  return [
    ...addresses.map((address) => ({ address, isInternal: false })),
    { address: '127.0.0.1', isInternal: true },
  ];
}

test('the address by which the first host is known, where it is its own', async () => {
  assert.equal(await choose({ addresses: own('172.17.0.1', '10.0.0.1') }), '10.0.0.1');
});

test('a name that only ssh knows: the only private address', async () => {
  const hosts = ['alias', 'node-2'];
  assert.equal(
    await choose({ hosts, addresses: own('198.51.100.9', '192.168.1.4', 'fe80::1') }),
    '192.168.1.4',
  );
  await assert.rejects(
    choose({ hosts, addresses: own('172.17.0.1', '10.0.0.1') }),
    /not clear.*172.17.0.1, 10.0.0.1/s,
  );
  await assert.rejects(choose({ hosts, addresses: own() }), /it names none/);
});

test('hosts that are this machine meet inside it, and so do the ranks of one host', async () => {
  assert.equal(await choose({ hosts: ['127.0.0.1', 'localhost'], addresses: own('10.0.0.1') }), '127.0.0.1');
  assert.equal(await choose({ hosts: ['node-1'], addresses: own('10.0.0.1') }), '127.0.0.1');
});

test('a public address is refused, unless a person insists', async () => {
  const outside = { hosts: ['outside', 'node-2'], addresses: own('198.51.100.7') };
  await assert.rejects(choose(outside), /public address 198.51.100.7.*--insecure-network/s);
  assert.equal(await choose({ ...outside, allowPublic: true }), '198.51.100.7');
  await assert.rejects(choose({ wanted: '8.8.8.8' }), /public address 8.8.8.8/);
  assert.equal(await choose({ wanted: 'node-2' }), '10.0.0.2');
  await assert.rejects(choose({ wanted: 'nowhere' }), /cannot be resolved/);
});

test('what is private', async () => {
  const resolve = async (name: string): Promise<readonly string[]> => [name];
  for (const wanted of ['10.1.2.3', '172.31.0.1', '192.168.0.1', '100.64.0.1', '127.0.0.1', '::1', 'fd00::1'])
    assert.equal(await choose({ wanted, resolve }), wanted);
  for (const wanted of ['172.32.0.1', '11.0.0.1', '100.128.0.1', '2001:db8::1', '::ffff:8.8.8.8', '0.0.0.0'])
    await assert.rejects(choose({ wanted, resolve }), /public/, wanted);
});
