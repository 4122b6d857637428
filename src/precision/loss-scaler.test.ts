import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { LossScaling } from './config.js';
import { initialLossScale, type LossScalerState, nextLossScale, overflowAnswer } from './loss-scaler.js';

type Dynamic = Extract<LossScaling, { kind: 'dynamic' }>;

const STANDARD: Dynamic = {
  kind: 'dynamic',
  initialScale: 2 ** 16,
  window: 1000,
  hysteresis: 2,
  consecutiveHysteresis: false,
  minimumScale: 1,
};

function scalesAfter(scaling: LossScaling, overflows: readonly boolean[]): readonly number[] {
  let state = initialLossScale(scaling);
  return overflows.map((overflowed) => {
    state = nextLossScale(scaling, state, overflowed);
    return state.scale;
  });
}

const X = true;
const o = false;

test('the first overflow is tolerated, each one after it halves the scale', () => {
  assert.deepEqual(scalesAfter(STANDARD, [X, X, X, o, X]), [65536, 32768, 16384, 16384, 8192]);
});

test('a window of clean steps doubles the scale and restores the tolerance', () => {
  const scaling = { ...STANDARD, initialScale: 8, window: 3 };
  // Step 0 counts no interval: DeepSpeed starts as if step -1 had overflowed.
  assert.deepEqual(scalesAfter(scaling, [o, o, o, o, o, o, o]), [8, 8, 8, 16, 16, 16, 32]);
  assert.deepEqual(scalesAfter(scaling, [X, X, o, o, o, o, X, X]), [8, 4, 4, 4, 4, 8, 8, 4]);
});

test('with consecutive hysteresis a clean step restores the tolerance', () => {
  const scaling = { ...STANDARD, initialScale: 8, consecutiveHysteresis: true };
  assert.deepEqual(scalesAfter(scaling, [X, o, X, o, X, X]), [8, 8, 8, 8, 8, 4]);
});

test('a static scale stays whatever happens', () => {
  assert.deepEqual(scalesAfter({ kind: 'static', scale: 128 }, [X, X, o, X]), [128, 128, 128, 128]);
});

test('at the smallest scale there is no answer to an overflow, and the scale stays', () => {
  const scaling = { ...STANDARD, initialScale: 6, minimumScale: 4, hysteresis: 1 };
  assert.equal(overflowAnswer(scaling, initialLossScale(scaling)), 'falls');
  const smallest = nextLossScale(scaling, initialLossScale(scaling), X);
  assert.equal(smallest.scale, 4);
  assert.equal(overflowAnswer(scaling, smallest), 'spent');
  assert.equal(nextLossScale(scaling, smallest, X).scale, 4);
});

/** DeepSpeed's class, written down from its description: it mutates counters where ours makes a new state. */
class Reference {
  scale: number;
  iteration = 0;
  lastOverflow = -1;
  tolerance: number;

  constructor(readonly options: Dynamic) {
    this.scale = options.initialScale;
    this.tolerance = options.hysteresis;
  }

  update(overflow: boolean): 'raised' | undefined {
    const { hysteresis, minimumScale, consecutiveHysteresis, window } = this.options;
    if (overflow) {
      if (hysteresis === 1 || this.tolerance === 1) {
        if (this.scale === minimumScale) return 'raised';
        this.scale = Math.max(this.scale / 2, minimumScale);
      } else {
        this.tolerance -= 1;
      }
      this.lastOverflow = this.iteration;
    } else {
      if (consecutiveHysteresis) this.tolerance = hysteresis;
      const stable = this.iteration - this.lastOverflow - 1;
      if (stable > 0 && stable % window === 0) {
        if (!consecutiveHysteresis) this.tolerance = hysteresis;
        this.scale *= 2;
      }
    }
    this.iteration += 1;
    return undefined;
  }
}

const anyScaling = fc.record({
  kind: fc.constant('dynamic' as const),
  initialScale: fc.integer({ min: 0, max: 24 }).map((power) => 2 ** power),
  window: fc.integer({ min: 1, max: 6 }),
  hysteresis: fc.integer({ min: 1, max: 4 }),
  consecutiveHysteresis: fc.boolean(),
  minimumScale: fc.integer({ min: 1, max: 9 }),
});

test('any sequence of steps leads to the states of DeepSpeed’s rule', () => {
  const steps = fc.array(fc.boolean(), { maxLength: 60 });
  fc.assert(
    fc.property(anyScaling, steps, (scaling, overflows) => {
      const reference = new Reference(scaling);
      let state: LossScalerState = initialLossScale(scaling);
      for (const overflowed of overflows) {
        const answer = overflowAnswer(scaling, state);
        const isRaised = reference.update(overflowed) === 'raised';
        if (overflowed) assert.equal(answer, isRaised ? 'spent' : 'falls');
        if (isRaised) return;
        state = nextLossScale(scaling, state, overflowed);
        assert.deepEqual(state, {
          scale: reference.scale,
          steps: reference.iteration,
          lastOverflow: reference.lastOverflow,
          hysteresis: reference.tolerance,
        });
      }
    }),
    { numRuns: 500 },
  );
});

test('a state that went through JSON goes on alike', () => {
  fc.assert(
    fc.property(anyScaling, fc.array(fc.boolean(), { maxLength: 12 }), (scaling, overflows) => {
      const run = (reload: boolean): number | undefined => {
        let state = initialLossScale({ ...scaling, minimumScale: 1, initialScale: 2 ** 30 });
        for (const overflowed of overflows) {
          state = nextLossScale(scaling, state, overflowed);
          if (reload) state = JSON.parse(JSON.stringify(state)) as LossScalerState;
        }
        return state.scale;
      };
      assert.equal(run(true), run(false));
    }),
  );
});
