import { TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';

/** A machine and which of its places for ranks (on a GPU machine: which GPUs) a run uses. */
export interface Host {
  /** As ssh is to call it. */
  readonly name: string;
  /** Ascending. */
  readonly slots: readonly number[];
  /** How many places the machine has, used or not. */
  readonly capacity: number;
}

/** What a name must look like to be handed to ssh: never an option, never anything that a shell would expand. */
const HOST_NAME = /^[A-Za-z0-9][A-Za-z0-9.:_-]{0,254}$/;
const MOST_SLOTS = 4096;

/**
 * Reads DeepSpeed's format: a line `name slots=N` for each host, in the order of their ranks; `#` begins a comment.
 *
 * @param path for messages
 * @throws TrainyardError HOSTFILE_INVALID with the line
 */
export function parseHostfile(text: string, path: string): readonly Host[] {
  const hosts = text.split(/\r?\n/).flatMap((line, index) => {
    const words = line.replace(/#.*$/, '').trim();
    return words === '' ? [] : [{ host: parseLine(words, `${path}:${index + 1}`), line: index + 1 }];
  });
  const seen = new Map<string, number>();
  for (const { host, line } of hosts) {
    const before = seen.get(host.name);
    if (before !== undefined) {
      throw invalid(`${path}:${line}`, {
        what: `The host ${host.name} is there twice.`,
        expected: 'one line for each host',
        got: `lines ${before} and ${line}`,
      });
    }
    seen.set(host.name, line);
  }
  if (hosts.length === 0) {
    throw invalid(path, { what: 'The hostfile names no host.', expected: FORMAT, got: 'no such line' });
  }
  return hosts.map(({ host }) => host);
}

const FORMAT = 'lines such as "node-1 slots=8"';

function parseLine(line: string, where: string): Host {
  const [, name, digits] = /^(\S+)\s+slots=(\d+)$/.exec(line) ?? [];
  if (name === undefined || digits === undefined) {
    throw invalid(where, {
      what: 'A line of the hostfile is malformed.',
      expected: FORMAT,
      got: quote(line),
    });
  }
  if (!HOST_NAME.test(name)) {
    throw invalid(where, {
      what: 'This is no name of a host.',
      expected: 'letters, digits and . : _ - after a letter or digit; settings of ssh go into ~/.ssh/config',
      got: quote(name),
    });
  }
  const capacity = Number(digits);
  if (!(capacity >= 1 && capacity <= MOST_SLOTS)) {
    throw invalid(where, {
      what: `The host ${name} has no usable number of slots.`,
      expected: `1 to ${MOST_SLOTS} ranks`,
      got: `slots=${digits.slice(0, 20)}`,
    });
  }
  return { name, slots: Array.from({ length: capacity }, (_, slot) => slot), capacity };
}

/** `--include` or `--exclude`, never both. */
export interface HostFilter {
  readonly include?: string | undefined;
  readonly exclude?: string | undefined;
}

/**
 * Takes some hosts, or some of their slots, in DeepSpeed's words: `node-1@node-2:0,2` is all of node-1 and two slots of
 * node-2. Hosts keep the order of the hostfile.
 *
 * @throws TrainyardError USAGE for hosts and slots that are not there, or when none is left
 */
export function selectHosts(hosts: readonly Host[], { include, exclude }: HostFilter): readonly Host[] {
  if (include !== undefined && exclude !== undefined) {
    throw new TrainyardError('USAGE', {
      what: '--include and --exclude cannot be used together.',
      cure: 'name the hosts that take part with --include, or the others with --exclude',
    });
  }
  const [option, words] = include !== undefined ? ['--include', include] : ['--exclude', exclude];
  if (words === undefined) return hosts;
  const named = namedSlots(hosts, words, option);
  const left = hosts.flatMap((host) => {
    const slots = host.slots.filter(
      (slot) => (named.get(host.name)?.has(slot) ?? false) === (include !== undefined),
    );
    return slots.length === 0 ? [] : [{ ...host, slots }];
  });
  if (left.length > 0) return left;
  throw new TrainyardError('USAGE', {
    what: `${option} ${quote(words)} leaves no host.`,
    cure: 'name fewer hosts',
  });
}

function namedSlots(
  hosts: readonly Host[],
  words: string,
  option: string,
): ReadonlyMap<string, ReadonlySet<number>> {
  const named = new Map<string, Set<number>>();
  for (const item of words.split('@')) {
    const { host, slots } = readItem(hosts, item, option);
    const all = named.get(host.name) ?? new Set<number>();
    for (const slot of slots) all.add(slot);
    named.set(host.name, all);
  }
  return named;
}

/** A name may hold colons itself (IPv6): a host that is called just so comes first. */
function readItem(
  hosts: readonly Host[],
  item: string,
  option: string,
): Pick<Host, 'slots'> & { readonly host: Host } {
  const whole = hosts.find(({ name }) => name === item);
  if (whole !== undefined) return { host: whole, slots: whole.slots };
  const [, name, list] = /^(.+):([\d,]+)$/.exec(item) ?? [];
  const host = hosts.find((candidate) => candidate.name === name);
  const slots = list?.split(',').map((digits) => (digits === '' ? Number.NaN : Number(digits))) ?? [];
  if (host !== undefined && slots.every((slot) => host.slots.includes(slot))) return { host, slots };
  throw new TrainyardError('USAGE', {
    what: `${option} names what the hostfile does not have.`,
    expected: 'HOST or HOST:0,2, several joined by @',
    got: quote(item),
    cure: `hosts are ${hosts.map((known) => `${known.name} (slots 0 to ${known.capacity - 1})`).join(', ')}`,
  });
}

function invalid(
  where: string,
  report: { readonly what: string; readonly expected: string; readonly got: string },
): TrainyardError {
  return new TrainyardError('HOSTFILE_INVALID', { ...report, where });
}
