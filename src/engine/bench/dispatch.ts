import { backward, noGrad } from '../../tensor/autograd.js';
import { empty, linear } from '../../tensor/generated/functions.js';
import { Scope } from '../../tensor/scope.js';
import { scope, type Tensor } from '../../tensor/tensor.js';
import { setThreads } from '../../tensor/threads.js';

/** Median and best nanoseconds of one operator. */
export interface DispatchTime {
  readonly ns: number;
  readonly best_ns: number;
}

/**
 * What an operator costs on tensors too small to compute anything: the same cases as a Python peer that
 * calls `torch` eagerly, one thread, median of `rounds` rounds of `calls` calls.
 */
export function benchDispatch(calls = 100_000, rounds = 9): Readonly<Record<string, DispatchTime>> {
  setThreads(1);
  return scope(() => {
    const cases = dispatchCases();
    const times: Record<string, DispatchTime> = {};
    for (const [name, { call, share }] of Object.entries(cases)) {
      times[name] = measure(call, Math.ceil(calls / share), rounds);
    }
    times.add_no_grad = noGrad(() => measure(cases.add_grad.call, calls, rounds));
    return times;
  });
}

interface DispatchCase {
  readonly call: () => unknown;
  /** How many times fewer calls a round has, for a case of many operators. */
  readonly share: number;
}

function dispatchCases() {
  const random = (...shape: number[]): Tensor => empty(shape).normal_();
  const [a, b, m, w] = [random(4), random(4), random(4, 4), random(4, 4)];
  const leaf = (source: Tensor): Tensor => {
    const copy = source.clone();
    copy.requiresGrad = true;
    return copy;
  };
  const [aGrad, mGrad] = [leaf(a), leaf(m)];
  const [first, firstBias, second, secondBias] = [random(8, 8), random(8), random(8, 8), random(8)].map(leaf);
  const x = random(2, 8);
  const single = (call: () => unknown): DispatchCase => ({ call, share: 1 });
  return {
    add: single(() => a.add(b)),
    add_inplace: single(() => a.add_(b)),
    mm: single(() => m.mm(w)),
    view: single(() => m.view([16])),
    empty: single(() => empty([4])),
    add_grad: single(() => aGrad.add(b)),
    mm_grad: single(() => mGrad.mm(w)),
    linear: single(() => linear(m, w)),
    fwd_bwd_mlp: {
      call: () =>
        backward([linear(linear(x, first as Tensor, firstBias).silu(), second as Tensor, secondBias).sum()]),
      share: 20,
    },
  } satisfies Record<string, DispatchCase>;
}

/** Times calls in scopes of a hundred, as a training step has them: freeing is part of the cost. */
function measure(call: () => unknown, calls: number, rounds: number): DispatchTime {
  const times: number[] = [];
  for (let round = 0; round < rounds; round += 1) {
    const start = process.hrtime.bigint();
    for (let done = 0; done < calls; done += 100) {
      const inner = new Scope();
      for (let i = 0; i < 100; i += 1) call();
      inner.close();
    }
    times.push(Number(process.hrtime.bigint() - start) / (Math.ceil(calls / 100) * 100));
  }
  times.sort((left, right) => left - right);
  return { ns: Math.round(times[times.length >> 1] ?? 0), best_ns: Math.round(times[0] ?? 0) };
}
