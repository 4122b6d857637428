import { invariant } from '../base/errors.js';
import type { Model } from '../nn/block.js';
import type { TensorAxis } from '../nn/tensor-axis.js';
import type { AxisExchange, BlockExchanges } from '../step/program.js';
import { DTYPES, type DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ResolvedConfig } from './config.js';
import { loneAxis } from './group-axis.js';
import { localModel } from './local-model.js';
import { recordSample } from './measure-blocks.js';
import type { ModelSource, TrainingForm } from './model-source.js';

/** An axis that counts what is exchanged along it. */
interface CountingAxis extends TensorAxis {
  /** What was exchanged since this was asked before. */
  take(): readonly AxisExchange[];
}

/** An axis of so many ranks, of which the others are not there, that counts. */
function countingAxis(size: number, sequence: boolean): CountingAxis {
  const axis = loneAxis(size, sequence);
  let exchanges: AxisExchange[] = [];
  const counted = (kind: AxisExchange['kind'], { elements, dtype }: Tensor): void => {
    exchanges.push({ kind, elements, bytes: elements * DTYPES[dtype].bytes });
  };
  const reduced = (tensor: Tensor): Tensor => {
    counted('all-reduce', tensor);
    return axis.sum(tensor);
  };
  return {
    ...axis,
    sum: reduced,
    max: reduced,
    concatenate(tensor, dimension) {
      const whole = axis.concatenate(tensor, dimension);
      counted('all-gather', whole);
      return whole;
    },
    scatterSum(tensor, dimension) {
      counted('reduce-scatter', tensor);
      return axis.scatterSum(tensor, dimension);
    },
    take() {
      const taken = exchanges;
      exchanges = [];
      return taken;
    },
  };
}

/** What the blocks of a source's model exchange, as a configuration divides them; undefined where it does not. */
export function exchangesOf(
  source: ModelSource,
  config: TrainingForm & Pick<ResolvedConfig, 'mesh'>,
  dtype: DType,
): readonly BlockExchanges[] | undefined {
  const { tensor, sequence_parallel: sequence } = config.mesh;
  if (tensor === 1) return undefined;
  const axis = countingAxis(tensor, sequence);
  const model = localModel(source, config, axis);
  try {
    return tensorExchanges(model, axis, dtype);
  } finally {
    model.dispose?.();
  }
}

/**
 * What the blocks of a model exchange along its tensor axis for each token: every message has something for every
 * position, and nothing else. Found by running one block of each kind on as few tokens as there can be.
 *
 * @param model divided over the axis
 */
function tensorExchanges(model: Model, axis: CountingAxis, dtype: DType): readonly BlockExchanges[] {
  const tokens = axis.size;
  const found = new Map<string, readonly AxisExchange[]>();
  const kindOf = recordSample(model, dtype, { rows: 1, length: tokens }, (op, kind) => {
    const exchanges = axis.take();
    found.set(`${op} ${kind}`, exchanges);
  });
  return model.blocks.map((block) => {
    const kind = kindOf(block);
    const of = (op: string): readonly AxisExchange[] =>
      (found.get(`${op} ${kind}`) ?? []).map((each) => ({
        ...each,
        elements: perToken(each.elements, tokens),
        bytes: perToken(each.bytes, tokens),
      }));
    return { forward: of('forward'), backward: of('backward') };
  });
}

function perToken(amount: number, tokens: number): number {
  invariant(amount % tokens === 0, 'a message along the tensor axis has something for every token');
  return amount / tokens;
}
