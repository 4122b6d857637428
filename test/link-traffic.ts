import { readFileSync } from 'node:fs';

/** Bytes by the name of a host's end of a link. */
export interface Traffic {
  readonly sent: Readonly<Record<string, number>>;
  readonly received: Readonly<Record<string, number>>;
}

/** What the kernel has counted on the links of this process's host, with the headers of every packet. */
export function linkTraffic(links: readonly string[]): Traffic {
  const lines = readFileSync('/proc/net/dev', 'utf8').split('\n');
  const counts = new Map(
    lines.flatMap((line): [string, readonly number[]][] => {
      const [name, numbers] = line.split(':');
      return name === undefined || numbers === undefined
        ? []
        : [[name.trim(), numbers.trim().split(/\s+/).map(Number)]];
    }),
  );
  const column = (index: number) =>
    Object.fromEntries(links.map((link) => [link, counts.get(link)?.[index] ?? Number.NaN]));
  // "Receive" has eight columns, the first of which are the bytes; so has "Transmit".
  return { received: column(0), sent: column(8) };
}

export function trafficBetween(before: Traffic, after: Traffic): Traffic {
  const difference = (way: keyof Traffic) =>
    Object.fromEntries(
      Object.entries(after[way]).map(([link, bytes]) => [link, bytes - (before[way][link] ?? Number.NaN)]),
    );
  return { sent: difference('sent'), received: difference('received') };
}
