import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { expandNodelist, expandTasksPerNode } from './nodelist.js';

for (const [list, nodes] of [
  ['node7', ['node7']],
  ['gnode[10,20-22],login', ['gnode10', 'gnode20', 'gnode21', 'gnode22', 'login']],
  ['n[008-011]', ['n008', 'n009', 'n010', 'n011']],
  ['rack[1-2]n[0,3].x', ['rack1n0.x', 'rack1n3.x', 'rack2n0.x', 'rack2n3.x']],
] as const) {
  test(`the nodes of ${list}`, () => assert.deepEqual(expandNodelist(list), nodes));
}

test('what is no list of nodes is none', () => {
  for (const list of [
    '',
    ',',
    'n[',
    'n[]',
    'n]',
    'n[2-1]',
    'n[a]',
    'n[1-999999999]',
    'a b',
    '$(x)',
    'n[1]/x',
    'n;',
  ])
    assert.equal(expandNodelist(list), undefined, list);
});

test('tasks of nodes', () => {
  assert.deepEqual(expandTasksPerNode('4(x2),3'), [4, 4, 3]);
  assert.deepEqual(expandTasksPerNode('8'), [8]);
  for (const list of ['', 'x', '4(x)', '4(x2', '4,,3'])
    assert.equal(expandTasksPerNode(list), undefined, list);
});

test('any text is expanded or refused, and what is expanded is plain', () => {
  const piece = fc.oneof(
    fc.constantFrom('n', '[', ']', '1', '-', ',', '03', '(x2)', '.'),
    fc.string({ maxLength: 3 }),
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      for (const node of expandNodelist(pieces.join('')) ?? []) assert.match(node, /^[A-Za-z0-9._-]+$/);
      for (const tasks of expandTasksPerNode(pieces.join('')) ?? []) assert.ok(Number.isInteger(tasks));
    }),
  );
});
