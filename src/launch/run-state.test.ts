import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ErrorEvent } from './events.js';
import {
  advance,
  initialRunState,
  isOver,
  type RunAction,
  type RunInput,
  type RunState,
} from './run-state.js';
import { judge } from './verdict.js';

const EVIDENCE = { sections: [], isOutOfMemory: false, now: 1000 };

function play(
  ranks: number,
  inputs: readonly RunInput[],
): { readonly state: RunState; readonly actions: readonly RunAction[] } {
  let state = initialRunState(ranks);
  const actions: RunAction[] = [];
  for (const input of inputs) {
    const next = advance(state, input);
    state = next.state;
    actions.push(...next.actions);
  }
  return { state, actions };
}

const exit = (
  rank: number,
  code: number | null,
  signal: NodeJS.Signals | null = null,
  time = 100,
): RunInput => ({
  kind: 'exit',
  rank,
  exit: { code, signal, time },
});

const error = (rank: number, code: string, time: number, exitCode = 1): RunInput => ({
  kind: 'error',
  rank,
  event: {
    event: 'error',
    rank,
    code,
    report: { what: `${code} of ${rank}` },
    exit_code: exitCode,
    time,
  } satisfies ErrorEvent,
});

test('a failure asks the others to leave, then kills whoever is left', () => {
  const { state, actions } = play(3, [
    exit(1, null, 'SIGSEGV'),
    exit(0, null, 'SIGTERM'),
    { kind: 'grace-over' },
  ]);
  assert.deepEqual(actions, [
    { kind: 'signal', ranks: [0, 2], signal: 'SIGTERM' },
    { kind: 'start-grace' },
    { kind: 'kill', ranks: [2] },
  ]);
  assert.equal(isOver(state), false);
  const over = advance(state, exit(2, null, 'SIGKILL')).state;
  assert.equal(isOver(over), true);
  const verdict = judge(over, EVIDENCE);
  assert.equal(verdict.cause?.rank, 1);
  assert.equal(verdict.exitCode, 75);
  assert.deepEqual(verdict.consequences, [
    'rank 2 did not leave when asked and was killed (rank 2, before its first step)',
  ]);
});

test('of two failures the earlier is the cause, unless it only echoes the later', () => {
  const first = play(2, [error(0, 'DATA_INVALID', 20, 2), error(1, 'INTERNAL', 10), exit(0, 2), exit(1, 1)]);
  assert.equal(judge(first.state, EVIDENCE).cause?.rank, 1);
  const echo = play(2, [error(0, 'COLLECTIVE_FAILED', 5, 75), exit(0, 75), exit(1, null, 'SIGKILL', 90)]);
  const verdict = judge(echo.state, { ...EVIDENCE, isOutOfMemory: true });
  assert.equal(verdict.cause?.rank, 1);
  assert.match(verdict.cause?.report.got ?? '', /out of memory/);
  assert.deepEqual(verdict.consequences, ['rank 0 then failed: COLLECTIVE_FAILED: COLLECTIVE_FAILED of 0']);
});

test('a signal from outside that nobody asked for is a failure', () => {
  const { state } = play(2, [exit(0, null, 'SIGTERM'), exit(1, null, 'SIGTERM')]);
  assert.equal(judge(state, EVIDENCE).exitCode, 75);
  assert.equal(judge(state, EVIDENCE).cause?.rank, 0);
});

test('a stop that everybody obeys is no failure; its exit code tells the signal', () => {
  for (const [signal, code] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const) {
    const { state } = play(2, [{ kind: 'stop', signal }, exit(0, code), exit(1, 0)]);
    assert.deepEqual(judge(state, EVIDENCE), { exitCode: code, consequences: [] });
  }
});

test('a rank that was stopped before it could save does not keep the others waiting', () => {
  const { actions } = play(2, [
    { kind: 'stop', signal: 'SIGTERM' },
    exit(1, null, 'SIGTERM'),
    { kind: 'grace-over' },
  ]);
  assert.deepEqual(actions.slice(1), [{ kind: 'start-grace' }, { kind: 'kill', ranks: [0] }]);
});

const input = (ranks: number): fc.Arbitrary<RunInput> => {
  const rank = fc.nat(ranks - 1);
  return fc.oneof(
    rank.chain((which) =>
      fc.constantFrom(exit(which, 0), exit(which, 1), exit(which, 143), exit(which, null, 'SIGKILL')),
    ),
    rank.chain((which) =>
      fc.constantFrom(error(which, 'INTERNAL', 3), error(which, 'COLLECTIVE_FAILED', 2, 75)),
    ),
    fc.constantFrom<RunInput>(
      { kind: 'stop', signal: 'SIGINT' },
      { kind: 'leave', signal: 'SIGINT' },
      { kind: 'grace-over' },
    ),
  );
};

test('in any order of events: only living ranks are signalled, a failure always starts the clock once', () => {
  fc.assert(
    fc.property(fc.array(input(3), { maxLength: 12 }), (inputs) => {
      let state = initialRunState(3);
      let clocks = 0;
      for (const next of inputs) {
        const gone = new Set(state.ranks.flatMap((fate, rank) => (fate.exit === undefined ? [] : [rank])));
        if (next.kind === 'exit' && gone.has(next.rank)) continue;
        const { state: after, actions } = advance(state, next);
        for (const action of actions) {
          if (action.kind === 'start-grace') clocks += 1;
          else for (const rank of action.ranks) assert.ok(!gone.has(rank));
        }
        if (after.phase === 'failing') assert.ok(clocks > 0);
        state = after;
      }
      const verdict = judge(state, EVIDENCE);
      const failed = state.ranks.some((fate) => fate.error !== undefined);
      if (failed && state.phase !== 'leaving') assert.notEqual(verdict.exitCode, 0);
    }),
  );
});
