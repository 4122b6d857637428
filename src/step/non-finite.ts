import { noGrad } from '../tensor/autograd.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import type { StepMetrics } from './handlers/step-state.js';

/** Whether a step's gradients may reach the parameters. The numbers are the same on every rank, and so is the answer. */
export function isFiniteStep({ loss, gradientNorm }: Pick<StepMetrics, 'loss' | 'gradientNorm'>): boolean {
  return Number.isFinite(loss) && Number.isFinite(gradientNorm);
}

/** Elements of a tensor that are not finite. */
export interface NonFiniteElements {
  readonly value: 'NaN' | 'infinity';
  readonly elements: number;
}

/** The elements that are not finite; undefined where there is none, or where all are whole numbers. */
export function nonFiniteElements(tensor: Tensor): NonFiniteElements | undefined {
  if (!FLOATING.has(tensor.dtype) || tensor.elements === 0) return undefined;
  return noGrad(() =>
    scope(() => {
      const elements = tensor.elements - tensor.isfinite().sum().item();
      if (elements === 0) return undefined;
      return { value: tensor.isnan().sum().item() > 0 ? 'NaN' : 'infinity', elements };
    }),
  );
}

const FLOATING: ReadonlySet<Tensor['dtype']> = new Set(['float64', 'float32', 'float16', 'bfloat16']);
