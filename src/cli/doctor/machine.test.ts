import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatFindings } from './finding.js';
import { checkMemory, checkNode, checkVectors } from './machine.js';

test('an old Node is missing, a new one is not', () => {
  assert.equal(checkNode('20.18.3').status, 'missing');
  assert.equal(checkNode('18.20.0').status, 'missing');
  for (const version of ['20.19.0', '22.1.0', '26.0.0']) assert.equal(checkNode(version).status, 'ok');
});

test('vector instructions are read from the processor information of x86 and Arm', () => {
  assert.equal(checkVectors('flags\t\t: fpu sse2 avx avx2 avx512f\n').found, 'avx512f, avx2, avx');
  assert.equal(checkVectors('Features\t: fp asimd sve\n').status, 'ok');
  assert.equal(checkVectors('flags : fpu sse2 avx\n').status, 'warning');
  assert.equal(checkVectors('').status, 'warning');
});

test('little memory is a warning', () => {
  assert.equal(checkMemory(2 ** 30, 2 ** 29).status, 'warning');
  assert.equal(checkMemory(2 ** 34, 2 ** 33).found, '16.0 GiB, 8.00 GiB free');
});

test('a finding is a line, its cure the next', () => {
  assert.equal(
    formatFindings([
      { name: 'Node', status: 'ok', found: '20' },
      { name: 'CMake', status: 'missing', found: 'not there', cure: 'install it' },
    ]),
    'Node          ok       20\nCMake         MISSING  not there\n              cure     install it',
  );
});
