/** How hosts are joined: each by one link to a switch, or by a link to each of its two neighbours. */
export type Joining = 'switch' | 'ring';

/** A network of hosts that are namespaces of this machine. */
export interface NetworkSpec {
  readonly hosts: number;
  readonly joining: Joining;
  /** What a link carries each way; left out: as much as it can. */
  readonly megabitsPerSecond?: number;
}

/** What a host has for itself. When the process that `unshare` starts ends, so does all that runs there. */
export const HOST_NAMESPACES = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];

/** Where a host has its temporary files. */
export const HOST_FOLDER = '/dev/shm';

/** Has a host's address, so that it is the same by whichever link a message comes. */
export const HOST_INTERFACE = 'host';

export const hostAddress = (host: number): string => `10.0.0.${host + 1}`;

/** One end of a link; the other is that of the switch, or of a neighbour. */
interface LinkEnd {
  readonly name: string;
  /** The host, or the switch. */
  readonly at: number | 'switch';
}

type Link = readonly [LinkEnd, LinkEnd];

/** The names of a host's own ends of its links. */
export function linkNames(joining: Joining): readonly string[] {
  switch (joining) {
    case 'switch':
      return ['uplink'];
    case 'ring':
      return ['next', 'previous'];
    default:
      return joining satisfies never;
  }
}

export function linksOf({ hosts, joining }: NetworkSpec): readonly Link[] {
  return Array.from({ length: hosts }, (_, host): Link => {
    switch (joining) {
      case 'switch':
        return [
          { name: 'uplink', at: host },
          { name: `port${host}`, at: 'switch' },
        ];
      case 'ring':
        return [
          { name: 'next', at: host },
          { name: 'previous', at: (host + 1) % hosts },
        ];
      default:
        return joining satisfies never;
    }
  });
}

/** What is set under net.ipv4 of every host. */
export const HOST_SETTINGS: readonly (readonly [name: string, value: string])[] = [
  // A host in a ring passes on what its neighbours say to each other, and hears by one link what it answers by the other.
  ['ip_forward', '1'],
  ['conf/all/rp_filter', '0'],
  // Fills a link without pauses to look how much it carries, whatever this machine's own setting is.
  ['tcp_congestion_control', 'reno'],
  ['tcp_slow_start_after_idle', '0'],
  // All that is on its way fits a short queue, in which the answers to what comes the other way wait too.
  ['tcp_wmem', '4096 131072 262144'],
  ['tcp_rmem', '4096 1048576 4194304'],
];

/** Lines for `ip -batch` in a host's namespace, where its ends of the links are already. */
export function hostSetUp({ hosts, joining }: NetworkSpec, host: number): readonly string[] {
  const own = hostAddress(host);
  const up = ['lo', HOST_INTERFACE, ...linkNames(joining)].map((name) => `link set ${name} up`);
  return [
    // A bridge without ports: the plainest interface that there is on every kernel.
    `link add ${HOST_INTERFACE} type bridge`,
    `address add ${own}/32 dev ${HOST_INTERFACE}`,
    ...up,
    ...routes(hosts, joining, host).map((route) => `route add ${route} src ${own}`),
  ];
}

function routes(hosts: number, joining: Joining, host: number): readonly string[] {
  if (joining === 'switch') return ['10.0.0.0/24 dev uplink'];
  const neighbours = { next: (host + 1) % hosts, previous: (host + hosts - 1) % hosts };
  return Array.from({ length: hosts }, (_, other) => other)
    .filter((other) => other !== host)
    .map((other) => {
      const way = (other - host + hosts) % hosts <= hosts / 2 ? 'next' : 'previous';
      const via = neighbours[way] === other ? '' : ` via ${hostAddress(neighbours[way])} onlink`;
      return `${hostAddress(other)}/32${via} dev ${way}`;
    });
}

/**
 * Arguments of `tc` that limit what leaves by an interface. A small bucket, so that no message gets through before the limit
 * is felt; a long queue, so that nothing is lost where several hosts send to one.
 */
export function limitOn(name: string, megabitsPerSecond: number): readonly string[] {
  const rate = `rate ${megabitsPerSecond}mbit burst 8kb limit 4mb`;
  return `qdisc add dev ${name} root tbf ${rate}`.split(' ');
}
