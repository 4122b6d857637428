import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  decodeOrder,
  decodeWord,
  encodeLine,
  type HostOrder,
  sectionReceived,
  sectionToSend,
} from './protocol.js';

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

test('a section keeps its ages on the way, with a heartbeat and without', () => {
  const since = Date.now() - 3000;
  for (const beat of [{}, { silentMs: 700 }]) {
    const sent = { step: 3, instruction: 'step', since, ...beat };
    const line = encodeLine({ word: 'section', rank: 1, section: sectionToSend(sent) });
    const word = decodeWord(line);
    assert.ok(word?.word === 'section');
    const received = sectionReceived(word.section);
    assert.deepEqual({ ...received, since: 0 }, { ...sent, since: 0 });
    assert.ok(Math.abs(received.since - since) < 1000);
  }
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
