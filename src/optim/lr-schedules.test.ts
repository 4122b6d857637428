import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import fc from 'fast-check';
import { type SchedulerConfig, schedulerSchema } from './config.js';
import { createSchedule } from './lr-schedules.js';

interface ReferenceCase {
  readonly type: string;
  readonly params: object;
  readonly lr: number;
  readonly learning_rates: readonly number[];
  readonly momenta?: readonly number[];
}

function referenceCases(): readonly ReferenceCase[] {
  const file = new URL('../../../test/fixtures/deepspeed-lr-schedules.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { cases: readonly ReferenceCase[] }).cases;
}

function scheduler(type: string, params: object): SchedulerConfig {
  const config = schedulerSchema.parse({ type, params });
  assert.ok(config !== undefined);
  return config;
}

for (const [index, reference] of referenceCases().entries()) {
  const { type, params, lr, learning_rates, momenta } = reference;
  test(`${type} ${JSON.stringify(params)} has DeepSpeed's values (case ${index})`, () => {
    const schedule = createSchedule(scheduler(type, params), lr);
    for (const [step, expected] of learning_rates.entries()) {
      const { learningRate, momentum } = schedule.at(step);
      assertClose(learningRate, expected, `learning rate of step ${step}`);
      const expectedMomentum = momenta?.[step];
      if (expectedMomentum === undefined) assert.equal(momentum, undefined);
      else assertClose(momentum, expectedMomentum, `momentum of step ${step}`);
    }
  });
}

test('without a schedule the learning rate stays', () => {
  const schedule = createSchedule(undefined, 3e-4);
  assert.deepEqual(schedule.at(0), { learningRate: 3e-4 });
  assert.deepEqual(schedule.at(1e6), { learningRate: 3e-4 });
});

test('every value of every schedule is finite, and no learning rate is negative or above its maximum', () => {
  const size = fc.integer({ min: 1, max: 50 });
  const stairs = fc.integer({ min: 0, max: 9 });
  fc.assert(
    fc.property(size, size, size, stairs, fc.nat(300), (warmup, total, second, stair, step) => {
      const cases = [
        scheduler('WarmupLR', { warmup_num_steps: warmup, warmup_max_lr: 1 }),
        scheduler('WarmupDecayLR', { warmup_num_steps: warmup, total_num_steps: total, warmup_max_lr: 1 }),
        scheduler('WarmupCosineLR', { warmup_num_steps: warmup, total_num_steps: total }),
        scheduler('OneCycle', {
          cycle_min_lr: 0.1,
          cycle_max_lr: 1,
          cycle_first_step_size: warmup,
          cycle_second_step_size: second,
          cycle_first_stair_count: stair,
        }),
      ];
      for (const config of cases) {
        const { learningRate, momentum = 0 } = createSchedule(config, 1).at(step);
        assert.ok(learningRate >= 0 && learningRate <= 1 + 1e-12, `${config.type} gave ${learningRate}`);
        assert.ok(momentum >= 0 && momentum < 1, `${config.type} gave momentum ${momentum}`);
      }
    }),
  );
});

function assertClose(actual: number | undefined, expected: number, name: string): void {
  const close = actual !== undefined && Math.abs(actual - expected) <= 1e-12 * Math.abs(expected) + 1e-18;
  assert.ok(close, `${name}: ${actual}, DeepSpeed has ${expected}`);
}
