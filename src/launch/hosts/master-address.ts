import { lookup } from 'node:dns/promises';
import { BlockList, isIP, isIPv6 } from 'node:net';
import { TrainyardError } from '../../base/errors.js';

/** An address of a host's own. */
export interface HostAddress {
  readonly address: string;
  /** Reached from the host itself only. */
  readonly isInternal: boolean;
}

/** What is known when the ranks' meeting place is chosen. */
export interface MasterChoice {
  /** Names of all hosts; the first has rank 0. */
  readonly hosts: readonly string[];
  /** Of the first host, as it says itself. */
  readonly addresses: readonly HostAddress[];
  /** As a person has asked for. */
  readonly wanted?: string | undefined;
  /** Lets it be one that the whole internet may reach. */
  readonly allowPublic: boolean;
  /** Addresses of a name; the default asks the system. */
  readonly resolve?: (name: string) => Promise<readonly string[]>;
}

/**
 * Where all ranks meet: an address of the first host. The store listens there without asking anybody for a password, and
 * ranks exchange gradients in plain text, so that it has to be on a private network unless a person insists.
 *
 * @throws TrainyardError USAGE for a public address, or where it is not clear which one the others can reach
 */
export async function chooseMasterAddress(choice: MasterChoice): Promise<string> {
  const { wanted, hosts, addresses, resolve = addressesOf } = choice;
  if (wanted !== undefined) {
    const [address] = await resolve(wanted);
    if (address === undefined)
      throw unknown(`The address ${wanted} cannot be resolved.`, 'an address of the first host');
    return demandPrivate(address, choice);
  }
  const [first = ''] = hosts;
  const named = await resolve(first);
  const isOneMachine =
    hosts.length === 1 || (await Promise.all(hosts.map(resolve))).every((all) => all.some(isLoopback));
  if (isOneMachine) return '127.0.0.1';
  const outward = addresses.filter(({ address, isInternal }) => !isInternal && !isLinkLocal(address));
  const known = outward.filter(({ address }) => named.includes(address)).map(({ address }) => address);
  const [best] = [...known.filter((address) => !isPublic(address)), ...known];
  if (best !== undefined) return demandPrivate(best, choice);
  const candidates = outward.map(({ address }) => address);
  const inside = candidates.filter((address) => !isIPv6(address) && !isPublic(address));
  const [only, ...others] = inside.length > 0 ? inside : candidates;
  if (only !== undefined && others.length === 0) return demandPrivate(only, choice);
  throw unknown(
    `It is not clear by which address the other hosts reach ${first}.`,
    `one of ${candidates.length === 0 ? 'its addresses, of which it names none' : candidates.join(', ')}`,
  );
}

function demandPrivate(address: string, { allowPublic }: MasterChoice): string {
  if (allowPublic || !isPublic(address)) return address;
  throw new TrainyardError('USAGE', {
    what: `The ranks would meet at the public address ${address}.`,
    expected:
      'an address of a private network: what ranks exchange is neither encrypted nor protected by a password',
    got: 'an address that others may reach',
    cure: 'give a private one with --master-addr; or, behind a firewall that lets only these hosts in, add --insecure-network',
  });
}

async function addressesOf(name: string): Promise<readonly string[]> {
  if (isIP(name) !== 0) return [name];
  try {
    return (await lookup(name, { all: true })).map(({ address }) => address);
  } catch {
    // Known to ssh alone, perhaps.
    return [];
  }
}

/** Whether others than those on the same premises may reach it; names count as public. */
function isPublic(address: string): boolean {
  if (isIP(address) === 0) return true;
  return !contains(PRIVATE, address);
}

const PRIVATE = [
  '10.0.0.0/8',
  '172.16.0.0/12',
  '192.168.0.0/16',
  '100.64.0.0/10',
  '127.0.0.0/8',
  '169.254.0.0/16',
  '::1/128',
  'fc00::/7',
  'fe80::/10',
] as const;

function isLoopback(address: string): boolean {
  return contains(['127.0.0.0/8', '::1/128'], address);
}

function isLinkLocal(address: string): boolean {
  return contains(['169.254.0.0/16', 'fe80::/10'], address);
}

function contains(networks: readonly string[], address: string): boolean {
  const list = new BlockList();
  for (const network of networks) {
    const [base = '', bits = ''] = network.split('/');
    list.addSubnet(base, Number(bits), isIPv6(base) ? 'ipv6' : 'ipv4');
  }
  return list.check(address, isIPv6(address) ? 'ipv6' : 'ipv4');
}

function unknown(what: string, expected: string): TrainyardError {
  return new TrainyardError('USAGE', { what, expected, cure: 'say it with --master-addr' });
}
