import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrainyardError } from './errors.js';

test('a report is a line for each field that is known', () => {
  const { message } = new TrainyardError('DATA_INVALID', {
    what: 'A row is malformed.',
    where: 'a.jsonl:3',
    got: 'two things:\n            this; that',
  });
  assert.equal(
    message,
    'A row is malformed.\n  at        a.jsonl:3\n  got       two things:\n            this; that',
  );
});

test('what comes from outside neither steers the terminal nor forges a place', () => {
  const { message } = new TrainyardError('DATA_INVALID', {
    what: 'A row is malformed.',
    where: 'a\n  cure      rm -rf\u001b[2J',
    expected: 'text\u009b31m',
    got: '\u202etxet',
    cure: 'mend\u0007',
  });
  assert.deepEqual(message.split('\n'), [
    'A row is malformed.',
    '  at        a\\u000a  cure      rm -rf\\u001b[2J',
    '  expected  text\\u009b31m',
    '  got       \\u202etxet',
    '  cure      mend\\u0007',
  ]);
});
