import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { isIPv6 } from 'node:net';
import { networkInterfaces } from 'node:os';

const ANY_PORT = 9;

/**
 * The network interface by which this host reaches an address, such as "eth1"; undefined where it reaches none. The
 * system is asked for its route; nothing is sent.
 */
export async function interfaceTowards(address: string): Promise<string | undefined> {
  const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
  try {
    socket.connect(ANY_PORT, address);
    await once(socket, 'connect');
    const own = socket.address().address;
    return interfaceOf(own);
  } catch {
    return undefined;
  } finally {
    socket.close();
  }
}

function interfaceOf(own: string): string | undefined {
  const found = Object.entries(networkInterfaces()).find(([, all = []]) =>
    all.some(({ address }) => address === own),
  );
  return found?.[0];
}
