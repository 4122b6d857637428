import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import type { FlightRecord } from './flight-record.js';
import { NoticeBoard, type StoreExchange } from './notice-board.js';

const RECORD: FlightRecord = {
  format: 'trainyard-flight-1',
  run: 'a run',
  rank: 1,
  world_size: 3,
  time: 0,
  state: 'waiting',
  reason: '',
  instruction: '',
  collectives: [],
};

let nowMs = 0;
beforeEach(() => {
  nowMs = 0;
  mock.method(performance, 'now', () => nowMs);
});
afterEach(() => mock.restoreAll());

/** A store in which every other rank has left the same, and that can be stopped. */
class Store {
  readonly questions: string[] = [];
  isStopped = false;

  readonly exchange: StoreExchange = (key, _, keys, longestMs, answerMs) => {
    this.questions.push(key);
    nowMs += this.isStopped ? longestMs + answerMs : 1;
    return this.isStopped ? undefined : keys.map(() => JSON.stringify({ ...RECORD, rank: 2 }));
  };
}

function boardOf(store: Store, isHosted = false): NoticeBoard {
  return new NoticeBoard(store.exchange, { run: 'a run', rank: 1, worldSize: 3 }, isHosted);
}

test('a store that was slow once is asked again after a pause', () => {
  const store = new Store();
  const board = boardOf(store);
  assert.equal(board.wait(RECORD).waiting.length, 2);
  store.isStopped = true;
  assert.deepEqual(board.wait(RECORD), { failed: [], waiting: [] });
  const { length } = store.questions;
  store.isStopped = false;
  assert.deepEqual(board.wait(RECORD), { failed: [], waiting: [] });
  assert.equal(store.questions.length, length);
  nowMs += 10_000;
  assert.equal(board.wait(RECORD).waiting.length, 2);
  assert.equal(board.lacksRankZero, false);
});

test('a store that does not answer costs one pause and not one for each question', () => {
  const store = new Store();
  store.isStopped = true;
  const board = boardOf(store);
  board.giveUp(RECORD, 1500);
  board.leave([2], 500);
  assert.equal(store.questions.length, 1);
  assert.equal(board.lacksRankZero, true);
  const hosted = boardOf(store, true);
  hosted.giveUp(RECORD, 1500);
  assert.equal(hosted.lacksRankZero, false);
});

test('whether rank 0 is there is what the store says when a rank gives up', () => {
  const store = new Store();
  const board = boardOf(store);
  store.isStopped = true;
  board.wait(RECORD);
  assert.equal(board.lacksRankZero, true);
  store.isStopped = false;
  assert.equal(board.giveUp(RECORD, 1500).failed.length, 2);
  assert.equal(board.lacksRankZero, false);
  store.isStopped = true;
  board.giveUp(RECORD, 1500);
  assert.equal(board.lacksRankZero, true);
});
