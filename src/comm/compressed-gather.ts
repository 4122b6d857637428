import { noGrad } from '../tensor/autograd.js';
import { empty } from '../tensor/generated/functions.js';
import { keep, scope, type Tensor } from '../tensor/tensor.js';
import type { Codec } from './codec/codec.js';
import { decode } from './codec.js';
import type { ProcessGroup } from './process-group.js';
import type { Work } from './work.js';

/**
 * Starts to bring the slices of all ranks together, as a codec's messages that are decoded in `wait`. Every rank comes to
 * the same values, for each takes its own slice from its message too.
 *
 * @param whole flat, of any floating dtype: as many slices as there are ranks
 * @param slice of this rank, fp32; it stays as it is
 * @param codec one that asks for no maximum
 */
export function compressedGather(
  group: Pick<ProcessGroup, 'rank' | 'worldSize' | 'allGather'>,
  whole: Tensor,
  slice: Tensor,
  codec: Codec,
): Work {
  const { rank, worldSize } = group;
  const coder = codec.coder(0);
  const length = codec.messageElements(slice.elements);
  const messages = keep(empty([worldSize * length], { dtype: codec.dtype, device: slice.device }));
  const target = keep(whole.alias());
  const own = messages.narrow(0, rank * length, length);
  noGrad(() => coder.encode(slice, own));
  const gathered = group.allGather(messages, own);
  const decodeAll = (): void => {
    for (let peer = 0; peer < worldSize; peer += 1) {
      const part = target.narrow(0, peer * slice.elements, slice.elements);
      decode(messages.narrow(0, peer * length, length), part, coder);
    }
  };
  return {
    wait: () => {
      if (messages.isFreed) return;
      gathered.wait();
      noGrad(() => scope(decodeAll));
      for (const each of [messages, target]) each.dispose();
    },
  };
}
