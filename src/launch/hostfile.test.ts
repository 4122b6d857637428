import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TrainyardError } from '../base/errors.js';
import { type Host, parseHostfile, selectHosts } from './hostfile.js';

const TEXT = `# our machines
node-1 slots=4
10.0.0.2   slots=2  # the old one

fd00::7\tslots=1
`;

function names(hosts: readonly Host[]): readonly string[] {
  return hosts.map(({ name, slots }) => `${name}:${slots.join(',')}`);
}

test("DeepSpeed's hostfile is read in its order, without comments and empty lines", () => {
  assert.deepEqual(names(parseHostfile(TEXT, 'hosts')), ['node-1:0,1,2,3', '10.0.0.2:0,1', 'fd00::7:0']);
  assert.deepEqual(parseHostfile(TEXT, 'hosts'), parseHostfile(TEXT.replaceAll('\n', '\r\n'), 'hosts'));
});

for (const [text, where, pattern] of [
  ['a slots=1\nb', 'hosts:2', /malformed.*"b"/s],
  ['a slots=1 extra', 'hosts:1', /malformed/],
  ['a slots=-1', 'hosts:1', /malformed/],
  ['\na slots=0', 'hosts:2', /no usable number of slots.*slots=0/s],
  ['a slots=5000', 'hosts:1', /1 to 4096/],
  ['a slots=1\n\na slots=2', 'hosts:3', /host a is there twice.*lines 1 and 3/s],
  ['# nothing', 'hosts', /names no host/],
  ['-oProxyCommand=x slots=1', 'hosts:1', /no name of a host/],
  ['user@host slots=1', 'hosts:1', /no name of a host/],
  ['a;b slots=1', 'hosts:1', /no name of a host/],
  ['$(x) slots=1', 'hosts:1', /no name of a host/],
  ['ü slots=1', 'hosts:1', /no name of a host/],
] as const) {
  test(`a hostfile with ${JSON.stringify(text)} is refused at ${where}`, () => {
    assert.throws(
      () => parseHostfile(text, 'hosts'),
      (error) => {
        assert.ok(error instanceof TrainyardError);
        assert.equal(error.code, 'HOSTFILE_INVALID');
        assert.equal(error.report.where, where);
        assert.match(error.message, pattern);
        return true;
      },
    );
  });
}

/** What a shell, ssh's own options or its tokens would make something of. */
const HOSTILE_HOSTS: readonly string[] = [
  ...[
    '-oProxyCommand=touch',
    '-l',
    '--',
    '-',
    '.hidden',
    '_a',
    ':1',
    '::1',
    '/etc',
    '../x',
    '~',
    '~root',
    '@',
    'a@b',
  ],
  ...[
    '$(touch)',
    '`touch`',
    `\${HOME}`,
    '$HOME',
    'a$(id)',
    'a;id',
    'a|id',
    'a&id',
    'a&&id',
    'a>x',
    'a<x',
    'a*',
    'a?',
    'a[b]',
  ],
  ...[
    'a"b',
    "a'b",
    'a\\b',
    'a\u0000b',
    'a\u0007',
    'a\u001b[31m',
    'a%h',
    '%p',
    'a,b',
    'a=b',
    'a+b',
    'a!',
    'a(b)',
    'a{b,c}',
  ],
  ...['ä', 'a\u202eb', 'a\u2044b', '\uff41', 'a/b', 'a'.repeat(256)],
];

test('no name that could be anything but a name gets as far as ssh', () => {
  for (const name of HOSTILE_HOSTS)
    assert.throws(() => parseHostfile(`${name} slots=1`, 'hosts'), TrainyardError, JSON.stringify(name));
});

test('--include and --exclude take hosts and slots', () => {
  const hosts = parseHostfile(TEXT, 'hosts');
  assert.deepEqual(names(selectHosts(hosts, {})), names(hosts));
  assert.deepEqual(names(selectHosts(hosts, { include: '10.0.0.2@node-1:3,0' })), [
    'node-1:0,3',
    '10.0.0.2:0,1',
  ]);
  assert.deepEqual(names(selectHosts(hosts, { include: 'fd00::7@fd00::7:0' })), ['fd00::7:0']);
  assert.deepEqual(names(selectHosts(hosts, { exclude: 'node-1:1,2@10.0.0.2' })), [
    'node-1:0,3',
    'fd00::7:0',
  ]);
  for (const filter of [
    { include: 'node-9' },
    { include: 'node-1:4' },
    { include: 'node-1:' },
    { include: 'node-1:0,,1' },
    { include: '' },
    { exclude: 'node-1@10.0.0.2@fd00::7' },
    { include: 'node-1', exclude: 'node-1' },
  ]) {
    assert.throws(() => selectHosts(hosts, filter), TrainyardError);
  }
});

test('any text is either hosts with safe, different names and slots, or one of our errors', () => {
  const word = fc.oneof(
    fc.constantFrom('a', 'b-1', 'slots=2', 'slots=0', '#', ' ', '\n', '\t', '-x'),
    fc.string(),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 12 }), (words) => {
      try {
        const hosts = parseHostfile(words.join(''), 'hosts');
        assert.ok(hosts.length > 0 && new Set(hosts.map(({ name }) => name)).size === hosts.length);
        for (const { name, slots, capacity } of hosts) {
          assert.match(name, /^[A-Za-z0-9][A-Za-z0-9.:_-]*$/);
          assert.ok(slots.length === capacity && capacity > 0);
        }
      } catch (error) {
        assert.ok(error instanceof TrainyardError, String(error));
      }
    }),
  );
});

test('what --include takes, --exclude leaves', () => {
  const hosts = ['a', 'b'].map((name): Host => ({ name, slots: [0, 1, 2], capacity: 3 }));
  const chosen = fc.record({
    a: fc.uniqueArray(fc.nat(2), { minLength: 1, maxLength: 2 }),
    b: fc.uniqueArray(fc.nat(2), { minLength: 1, maxLength: 2 }),
  });
  fc.assert(
    fc.property(chosen, ({ a, b }) => {
      const words = `a:${a.join()}@b:${b.join()}`;
      const parts = [selectHosts(hosts, { include: words }), selectHosts(hosts, { exclude: words })];
      for (const name of ['a', 'b']) {
        const slots = parts.flatMap((part) => part.find((host) => host.name === name)?.slots ?? []);
        assert.deepEqual([...slots].sort(), [0, 1, 2]);
      }
    }),
  );
});
