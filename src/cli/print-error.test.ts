import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatError } from './print-error.js';

const REPORT = { what: 'Unknown key "stepz".', where: 'config.json:3:5', cure: 'did you mean steps?' };

test('an error of ours is its code and its report, never a stack', () => {
  assert.equal(
    formatError({ code: 'CONFIG_INVALID', report: REPORT, stack: 'Error\n    at somewhere' }, false),
    'error CONFIG_INVALID: Unknown key "stepz".\n  at        config.json:3:5\n  cure      did you mean steps?',
  );
});

test('any other error is one line and where to look', () => {
  const error = {
    code: 'INTERNAL',
    report: { what: 'TypeError: x is not a function' },
    stack: 'TypeError\n    at y',
  };
  assert.equal(
    formatError(error, false),
    'error: TypeError: x is not a function\n  cure      TRAINYARD_DEBUG=1 shows where it happened',
  );
  assert.equal(formatError(error, true), 'error: TypeError: x is not a function\nTypeError\n    at y');
});

test('text from outside cannot steer the terminal', () => {
  assert.equal(
    formatError({ code: 'USAGE', report: { what: 'a\u001b[2Jb\u0007' } }, false),
    'error USAGE: a\\u001b[2Jb\\u0007',
  );
});
