import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { runHostAgent } from './agent.js';
import { interfaceTowards } from './network-interface.js';
import { decodeWord } from './protocol.js';

test('an agent says what its host has, ignores what is no order, and leaves a launcher that says nothing more', async () => {
  const [input, output] = [new PassThrough(), new PassThrough()];
  input.write('hello\n{"order":"start"}\n');
  const program = { executable: '/nowhere', arguments: [] };
  await runHostAgent({ program, variables: {}, version: '7.0.0', input, output, silenceMs: 50 });
  output.end();
  const [line = '', ...others] = (await text(output)).trimEnd().split('\n');
  assert.deepEqual(others, []);
  const word = decodeWord(line);
  assert.ok(word?.word === 'ready' && word.version === '7.0.0' && word.port >= 1024);
  const own = Object.values(networkInterfaces()).flatMap((all = []) => all.map(({ address }) => address));
  assert.deepEqual(
    word.addresses.map(({ address }) => address),
    own,
  );
});

test('the interface towards an address is the one that the system would take', async () => {
  assert.equal(await interfaceTowards('127.0.0.1'), 'lo');
  assert.equal(await interfaceTowards('no address'), undefined);
});
