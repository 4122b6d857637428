import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';

const FIRST_PORT = 10_000;
const EPHEMERAL = '/proc/sys/net/ipv4/ip_local_port_range';
const ATTEMPTS = 200;

/**
 * A TCP port for a server that another process is yet to start. Nobody listens on it now, and nobody will come upon
 * it by chance: it lies below those that the system gives to whoever asks for any, and this process keeps a mark
 * on it, to the end of its life, that every other caller respects.
 */
export async function freePort(host: string): Promise<number> {
  const last = lastReservablePort();
  for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
    const port = last > FIRST_PORT ? randomInt(FIRST_PORT, last) : 0;
    const server = await listening({ host, port });
    if (server === undefined) continue;
    const address = server.address();
    server.close();
    await once(server, 'close');
    if (address !== null && typeof address !== 'string' && (await marks(address.port))) return address.port;
  }
  throw new Error(`no port of ${host} can be listened on`);
}

/** A socket in the abstract namespace: one process has it, and it goes with the process, however that ends. */
async function marks(port: number): Promise<boolean> {
  const mark = await listening({ path: `\0trainyard-port-${port}` });
  mark?.unref();
  return mark !== undefined;
}

/** Undefined where another listens there, or nobody may. */
async function listening(
  where: { readonly host: string; readonly port: number } | { readonly path: string },
): Promise<Server | undefined> {
  const server = createServer().listen({ ...where });
  try {
    await once(server, 'listening');
    return server;
  } catch {
    return undefined;
  }
}

/** Where the ports begin that the system gives out by itself; 0 where it does not say. */
function lastReservablePort(): number {
  try {
    return Number.parseInt(readFileSync(EPHEMERAL, 'utf8'), 10) || 0;
  } catch {
    return 0;
  }
}
