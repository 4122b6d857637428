import { OptimizerGroup } from '../../optim/optimizer-group.js';
import { noGrad } from '../../tensor/autograd.js';
import { empty } from '../../tensor/generated/functions.js';
import { scope, type Tensor } from '../../tensor/tensor.js';
import { setThreads } from '../../tensor/threads.js';

/** What is updated, and how. */
export interface AdamCase {
  readonly elements: number;
  /** The elements are divided evenly over so many. */
  readonly tensors: number;
  readonly threads: number;
}

/** Milliseconds of one update of everything. */
export interface AdamTime {
  readonly ms: number;
  readonly best_ms: number;
}

const WARM_UP_STEPS = 2;

/** What a training step's AdamW takes on fp32 memory: median and best of so many updates. */
export function benchAdam({ elements, tensors, threads }: AdamCase, steps: number): AdamTime {
  setThreads(threads);
  return scope(() => {
    const random = (scale: number): Tensor => empty([Math.floor(elements / tensors)]).normal_(0, scale);
    const pieces = noGrad(() =>
      Array.from({ length: tensors }, () => ({ parameters: random(0.02), gradients: random(1e-3) })),
    );
    const params = { lr: 1e-3, betas: [0.9, 0.95], eps: 1e-8, weight_decay: 0.1 } as const;
    const optimizer = new OptimizerGroup({ type: 'AdamW', params }, pieces);
    const times: number[] = [];
    for (let step = 1; step <= WARM_UP_STEPS + steps; step += 1) {
      const start = performance.now();
      optimizer.step({ step, learningRate: params.lr, gradientScale: 1 });
      if (step > WARM_UP_STEPS) times.push(performance.now() - start);
    }
    optimizer.dispose();
    times.sort((left, right) => left - right);
    return { ms: times[times.length >> 1] ?? 0, best_ms: times[0] ?? 0 };
  });
}
