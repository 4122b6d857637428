import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findHung, hungEvent, type StandingRank } from './hung-rank.js';

const NOW = 1_000_000;

function rankAt(rank: number, ageMs: number, silentMs?: number): StandingRank {
  const section = { step: 3, instruction: 'forward block.0', since: NOW - ageMs };
  return { index: rank, rank, section: { ...section, ...(silentMs !== undefined && { silentMs }) } };
}

test('nobody hangs before some rank has been at one instruction for as long as it may', () => {
  assert.equal(findHung([], 5000, NOW), undefined);
  assert.equal(findHung([rankAt(0, 4999, 4999), rankAt(1, 10)], 5000, NOW), undefined);
});

test('of processes that run, the one that has been at its instruction for the longest hangs', () => {
  const hung = findHung([rankAt(0, 4000, 90), rankAt(1, 5000, 10)], 5000, NOW);
  assert.equal(hung?.rank, 1);
  const { report } = hungEvent(hung, NOW);
  assert.match(report.what, /Rank 1 hangs: it has been at one instruction for 5 s/);
  assert.match(report.got ?? '', /its process runs/);
});

test('a process that does not run is what the others wait for, even where they have waited longer', () => {
  const hung = findHung([rankAt(0, 9000, 10), rankAt(1, 8000, 7000)], 5000, NOW);
  assert.equal(hung?.rank, 1);
  assert.match(hungEvent(hung, NOW).report.what, /Rank 1 hangs: its process has not run for 7 s/);
});

test('without a heartbeat nothing is said of the process', () => {
  const { report } = hungEvent(rankAt(0, 9000), NOW);
  assert.equal(report.got, undefined);
});
