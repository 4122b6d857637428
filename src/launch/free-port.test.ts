import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { freePort } from './free-port.js';

const HOST = '127.0.0.1';
const MODULE = new URL('free-port.js', import.meta.url).href;

test('many ports at once are all different, free, and none that the system gives out', async () => {
  const ports = await Promise.all(Array.from({ length: 300 }, () => freePort(HOST)));
  assert.equal(new Set(ports).size, ports.length);
  for (const port of ports.slice(0, 20)) {
    const server = createServer().listen(port, HOST);
    await once(server, 'listening');
    server.close();
    await once(server, 'close');
  }
  const given = createServer().listen(0, HOST);
  await once(given, 'listening');
  const address = given.address();
  given.close();
  const ephemeral = typeof address === 'object' ? (address?.port ?? 0) : 0;
  assert.ok(Math.max(...ports) < ephemeral, `${Math.max(...ports)} is not below ${ephemeral}`);
});

test('a port is not given to another process while the one that asked for it lives', async () => {
  const mine = await freePort(HOST);
  // Another process whose every draw is that port finds it marked.
  const script =
    `import crypto from 'node:crypto'; import { syncBuiltinESMExports } from 'node:module';` +
    `crypto.randomInt = () => ${mine}; syncBuiltinESMExports();` +
    `const { freePort } = await import('${MODULE}');` +
    `try { console.log(await freePort('${HOST}')); } catch (error) { console.log(error.message); }`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script]);
  assert.match(stdout, /no port of 127\.0\.0\.1/);
});
