import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import type { EndEvent, StartEvent, StepEvent } from '../../launch/events.js';
import { JsonDisplay } from './json-display.js';
import { NO_COLORS } from './lines.js';
import { LiveDisplay } from './live-display.js';
import { PlainDisplay } from './plain-display.js';

const START: StartEvent = {
  event: 'start',
  world_size: 1,
  parameters: 10,
  steps: 9,
  first_step: 1,
  device: 'cpu',
};
const END: EndEvent = { event: 'end', steps: 9, loss: 1, peak_memory_bytes: [] };
const step = (number: number): StepEvent => ({
  event: 'step',
  step: number,
  loss: 1,
  grad_norm: 1,
  learning_rate: 1e-3,
  tokens: 1000,
  tokens_per_second: 1000,
  step_ms: 1000,
  skipped: false,
});
const ERROR = {
  event: 'error',
  rank: 1,
  code: 'RANK_LOST',
  report: { what: 'Rank 1 was lost.' },
  exit_code: 75,
  time: 1,
} as const;

function textOf(stream: PassThrough): string {
  return String(stream.read() ?? '');
}

test('a log has the first step, one every five seconds, and the last', () => {
  const stream = new PassThrough();
  let now = 0;
  const display = new PlainDisplay(stream, () => now);
  display.event(START);
  for (let number = 1; number <= 9; number++) {
    display.event(step(number));
    now += 2000;
  }
  display.event(END);
  display.close();
  const steps = [...textOf(stream).matchAll(/^step (\d+)/gm)].map(([, number]) => Number(number));
  assert.deepEqual(steps, [1, 4, 7, 9]);
});

test('steps_per_print decides where it is given', () => {
  const stream = new PassThrough();
  const display = new PlainDisplay(stream, () => 0);
  display.event({ ...START, steps_per_print: 4 });
  for (let number = 1; number <= 9; number++) display.event(step(number));
  display.close();
  const steps = [...textOf(stream).matchAll(/^step (\d+)/gm)].map(([, number]) => Number(number));
  assert.deepEqual(steps, [1, 4, 8, 9]);
});

test('a program gets events on stdout and nothing else there', async () => {
  const [events, people] = [new PassThrough(), new PassThrough()];
  const display = new JsonDisplay(events, people);
  display.event(START);
  display.notice('2 ranks');
  display.log({ event: 'log', level: 'warning', message: 'careful\u001b[2J' }, 1);
  await display.output(0, ['from a library']);
  display.event(step(1));
  display.event(END);
  display.close();
  display.failure({ ...ERROR, stack: 'secret place' });
  const lines = textOf(events).trimEnd().split('\n');
  assert.deepEqual(
    lines.map((line) => JSON.parse(line)),
    [START, step(1), END, ERROR],
  );
  assert.equal(
    textOf(people),
    '2 ranks\n[rank 1] warning: careful\\u001b[2J\n[rank 0] from a library\nerror RANK_LOST: Rank 1 was lost.\n',
  );
});

test('a terminal shows ordinary lines above the live one and gets its cursor back', async () => {
  const written: string[] = [];
  const terminal = { columns: 61, write: (text: string) => written.push(text) > 0 };
  const listeners = process.listenerCount('exit');
  const display = new LiveDisplay(terminal, NO_COLORS);
  assert.equal(process.listenerCount('exit'), listeners + 1);
  display.event(START);
  display.event(step(1));
  await display.output(0, ['hello\u001b[2J']);
  display.event({ ...END, output: 'runs/\u001b[2J' });
  display.close();
  display.failure(ERROR);
  const text = written.join('');
  assert.ok(text.startsWith('\u001b[?25l'));
  assert.ok(text.includes('\r\u001b[2K[rank 0] hello\n'));
  assert.ok(text.includes('\n\u001b[?25hdone: 9 steps'));
  assert.ok(text.endsWith('error RANK_LOST: Rank 1 was lost.\n'));
  assert.ok(!text.includes('\u001b[2J'));
  assert.equal(process.listenerCount('exit'), listeners);
});
