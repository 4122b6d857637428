import { invariant } from '../base/errors.js';
import type { Model } from '../nn/block.js';
import type { SequenceAxis } from '../nn/sequence-axis.js';
import type { TensorAxis } from '../nn/tensor-axis.js';
import type { AxisExchange, BlockExchanges } from '../step/program.js';
import { DTYPES, type DType } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';
import type { ResolvedConfig } from './config.js';
import { loneAxis } from './group-axis.js';
import { localModel } from './local-model.js';
import { recordSample } from './measure-blocks.js';
import type { ModelSource, TrainingForm } from './model-source.js';
import { loneSequenceAxis } from './sequence-axes.js';

type Count = (group: AxisExchange['group'], kind: AxisExchange['kind'], tensor: Tensor) => void;

/** What was exchanged, in its order. */
class ExchangeCounter {
  #exchanges: AxisExchange[] = [];

  readonly count: Count = (group, kind, { elements, dtype }) => {
    this.#exchanges.push({ group, kind, elements, bytes: elements * DTYPES[dtype].bytes });
  };

  /** What was exchanged since this was asked before. */
  take(): readonly AxisExchange[] {
    const taken = this.#exchanges;
    this.#exchanges = [];
    return taken;
  }
}

/** An axis of so many ranks, of which the others are not there, that counts. */
function countingAxis(size: number, sequence: boolean, count: Count): TensorAxis {
  const axis = loneAxis(size, sequence);
  const reduced = (tensor: Tensor): Tensor => {
    count('tensor', 'all-reduce', tensor);
    return axis.sum(tensor);
  };
  return {
    ...axis,
    sum: reduced,
    max: reduced,
    concatenate(tensor, dimension) {
      const whole = axis.concatenate(tensor, dimension);
      count('tensor', 'all-gather', whole);
      return whole;
    },
    scatterSum(tensor, dimension) {
      count('tensor', 'reduce-scatter', tensor);
      return axis.scatterSum(tensor, dimension);
    },
  };
}

function countingSequenceAxis(size: number, count: Count): SequenceAxis | undefined {
  const axis = loneSequenceAxis(size);
  return (
    axis && {
      ...axis,
      exchange(parts) {
        count('sequence', 'all-to-all', parts);
        return axis.exchange(parts);
      },
    }
  );
}

/** What the blocks of a source's model exchange, as a configuration divides them; undefined where it does not. */
export function exchangesOf(
  source: ModelSource,
  config: TrainingForm & Pick<ResolvedConfig, 'mesh' | 'sequence_parallel_size' | 'tensor_parallel'>,
  dtype: DType,
): readonly BlockExchanges[] | undefined {
  const { tensor, sequence_parallel: sequence } = config.mesh;
  if (tensor === 1 && config.sequence_parallel_size === 1) return undefined;
  const counter = new ExchangeCounter();
  const axis = tensor === 1 ? undefined : countingAxis(tensor, sequence, counter.count);
  const sequenceAxis = countingSequenceAxis(config.sequence_parallel_size, counter.count);
  const model = localModel(source, config, axis);
  try {
    return exchangesPerToken(model, counter, tensor, { dtype, sequenceAxis });
  } finally {
    // Undivided, it is the source's own.
    if (axis !== undefined) model.dispose?.();
  }
}

/**
 * What the blocks of a model exchange within themselves for each token of this rank: every message has something for
 * every position, and nothing else. Found by running one block of each kind on as few tokens as there can be.
 *
 * @param model divided over an axis of so many ranks
 */
function exchangesPerToken(
  model: Model,
  counter: ExchangeCounter,
  tokens: number,
  options: { readonly dtype: DType; readonly sequenceAxis: SequenceAxis | undefined },
): readonly BlockExchanges[] {
  const found = new Map<string, readonly AxisExchange[]>();
  const kindOf = recordSample(model, { rows: 1, length: tokens }, options, (op, kind) => {
    const exchanges = counter.take();
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
  invariant(amount % tokens === 0, 'a message within a block has something for every token');
  return amount / tokens;
}
