import { once } from 'node:events';
import { createServer } from 'node:net';

/** A TCP port that nobody listens on right now; the caller must take it soon. */
export async function freePort(host: string): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string')
    throw new Error('a TCP server has an address and a port');
  return address.port;
}
