import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { StepEvent } from '../../launch/events.js';
import { COLORS, endLines, liveLine, NO_COLORS, plainLine, startLine } from './lines.js';
import { NO_PROGRESS, type Progress, withEvent } from './progress.js';
import { sparkline } from './sparkline.js';

const START = {
  event: 'start',
  world_size: 2,
  parameters: 5_300_000,
  steps: 200,
  first_step: 1,
  device: 'cpu',
  tokens_per_step: 4096,
} as const;

function step(number: number, loss: number): StepEvent {
  return {
    event: 'step',
    step: number,
    loss,
    grad_norm: 1.25,
    learning_rate: 3e-4,
    tokens: 4096,
    tokens_per_second: 8192,
    step_ms: 500,
    skipped: false,
    memory_bytes: 800 * 1024 ** 2,
  };
}

test('the drift of replicas stays in the line until they are brought together again', () => {
  const apart = after(3);
  assert.doesNotMatch(plainLine(apart), /drift/);
  const met = withEvent(apart, { ...step(4, 2), drift_mean: 0.01, drift_max: 0.0234 });
  assert.match(plainLine(met), /drift 0\.0234/);
  assert.match(plainLine(withEvent(met, step(5, 2))), /drift 0\.0234/);
});

function after(steps: number): Progress {
  const losses = Array.from({ length: steps }, (_, index) => 8 - (6 * index) / Math.max(1, steps - 1));
  return losses.reduce<Progress>((progress, loss, index) => withEvent(progress, step(index + 1, loss)), {
    ...NO_PROGRESS,
    start: START,
  });
}

test('the start says what is trained on what', () => {
  assert.equal(startLine(START), 'training 5.30M parameters on 2 ranks (cpu): 200 steps of 4.10k tokens');
  assert.equal(
    startLine({ ...START, parameters: 4100, frozen_parameters: 5_300_000 }),
    'training 4.10k of 5.30M parameters on 2 ranks (cpu): 200 steps of 4.10k tokens',
  );
  assert.equal(
    startLine({ ...START, world_size: 1, first_step: 101 }),
    'training 5.30M parameters on 1 rank (cpu): 100 steps of 4.10k tokens, continuing at step 101',
  );
});

test('a plain line has everything', () => {
  assert.equal(
    plainLine(after(80)),
    'step 80/200  loss 2.0000  lr 3.00e-4  grad 1.2500  8.19k tokens/s  800 MiB  1:00 left',
  );
});

test('a live line uses the width for the loss curve', () => {
  const line = liveLine(after(80), 120, NO_COLORS);
  assert.equal(
    line,
    'step 80/200  loss 2.0000  █████▇▇▇▇▆▆▆▆▅▅▅▅▄▄▄▄▃▃▃▃▂▂▂▂▁▁▁▁  lr 3.00e-4  grad 1.2500  8.19k tokens/s  800 MiB  1:00 left',
  );
  assert.equal(line.length, 120);
});

test('a narrow terminal keeps step and loss, then speed, then time left', () => {
  assert.equal(liveLine(after(80), 24, NO_COLORS), 'step 80/200  loss 2.0000');
  assert.equal(liveLine(after(80), 42, NO_COLORS), 'step 80/200  loss 2.0000  8.19k tokens/s');
  assert.equal(liveLine(after(80), 53, NO_COLORS), 'step 80/200  loss 2.0000  8.19k tokens/s  1:00 left');
  assert.equal(liveLine(after(80), 9, NO_COLORS), 'step 80/2');
});

test('no live line is wider than its terminal; colours do not change what is read', () => {
  const losses = fc.array(fc.oneof(fc.double({ min: 0, max: 20 }), fc.constant(Number.NaN)), {
    maxLength: 60,
  });
  fc.assert(
    fc.property(losses, fc.integer({ min: 0, max: 200 }), fc.boolean(), (values, width, isStopping) => {
      const progress = values.reduce<Progress>(
        (before, loss, index) => withEvent(before, step(index + 1, loss)),
        {
          ...NO_PROGRESS,
          start: START,
          isStopping,
        },
      );
      const line = liveLine(progress, width, NO_COLORS);
      assert.ok(line.length <= width, `${line.length} > ${width}`);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with an escape
      assert.equal(liveLine(progress, width, COLORS).replaceAll(/\u001b\[\d+m/g, ''), line);
    }),
  );
});

test('what is unusual is said', () => {
  const skipped = withEvent(after(2), { ...step(3, Number.NaN), skipped: true });
  assert.match(plainLine(skipped), /^step 3\/200 {2}loss not finite {2}skipped/);
  assert.match(plainLine({ ...after(2), isStopping: true }), /stopping$/);
});

test('the end says how it went', () => {
  const end = {
    event: 'end',
    steps: 200,
    loss: 2.5,
    peak_memory_bytes: [2 ** 30, 2 ** 29],
    output: 'runs/x',
  } as const;
  const line = 'done: 200 steps in 1:23, loss 2.5000, peak memory 1.00 GiB + 512 MiB, written to runs/x';
  assert.deepEqual(endLines(after(3), 10), []);
  assert.deepEqual(endLines(withEvent(after(3), end), 83), [line]);
  const counted = {
    ...end,
    predicted_peak_bytes: [2 ** 20, 4 * 2 ** 20],
    measured_peak_bytes: [2 ** 20, 3 * 2 ** 20],
    memory_ledger: [
      { parameters: 2 ** 20, gathered: 0, activations: 0 },
      { parameters: 2 ** 20, gathered: 0, activations: 3 * 2 ** 20 },
    ],
  };
  assert.deepEqual(endLines(withEvent(after(3), counted), 83), [
    line,
    '  parameters   1.00 MiB',
    '  activations  3.00 MiB',
    '  together     4.00 MiB, measured 3.00 MiB (−25.0 %)',
  ]);
  assert.match(
    endLines(withEvent(after(3), { ...end, steps: 7, stopped: true }), 5)[0] ?? '',
    /^stopped after 7 steps in 0:05/,
  );
});

test('a curve goes from its highest block to its lowest', () => {
  assert.equal(sparkline([8, 7, 6, 5, 4, 3, 2, 1], 8), '█▇▆▅▄▃▂▁');
  assert.equal(sparkline([1, 1, 1], 10), '▁▁▁');
  assert.equal(sparkline([4, 4, 2, 2, 0, 0], 3), '█▅▁');
  assert.equal(sparkline([1, Number.NaN, 2], 3), '▁×█');
  assert.equal(sparkline([1, 2], 0), '');
  assert.equal(sparkline([], 5), '');
});

test('a long run keeps a curve of bounded length', () => {
  const progress = after(5000);
  assert.ok(progress.losses.length <= 1024 && progress.losses.length > 256);
  assert.equal(sparkline(progress.losses, 8), '█▇▆▅▄▃▂▁');
});
