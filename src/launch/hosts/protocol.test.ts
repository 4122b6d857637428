import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeOrder, decodeWord, encodeLine, type HostOrder } from './protocol.js';

const ORDER: HostOrder = {
  order: 'start',
  arguments: ['train', '--', '$(x)\n\u2028'],
  folder: '/a b',
  variables: { TRAINYARD_X: '`y`' },
  ranks: 2,
  place: {
    host: 1,
    firstRank: 2,
    worldSize: 4,
    masterAddress: '10.0.0.1',
    masterPort: 1234,
    runId: 'secret',
  },
};

test('an order is one line and comes back as it was', () => {
  const line = encodeLine(ORDER);
  assert.equal(line.indexOf('\n'), line.length - 1);
  assert.deepEqual(decodeOrder(line), ORDER);
});

test('what is no order and no word is neither', () => {
  const almost = { ...ORDER, ranks: 0 };
  for (const line of ['', '{', '[]', 'Welcome to node-1', '{"word":"ready"}', JSON.stringify(almost)]) {
    assert.equal(decodeOrder(line), undefined, line);
    assert.equal(decodeWord(line), undefined, line);
  }
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (line) => {
      assert.equal(decodeOrder(line), undefined);
      assert.equal(decodeWord(line), undefined);
    }),
  );
});
