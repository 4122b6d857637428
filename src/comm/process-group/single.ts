import { invariant } from '../../base/errors.js';
import { noGrad } from '../../tensor/autograd.js';
import type { DType } from '../../tensor/dtype.js';
import { zeros } from '../../tensor/generated/functions.js';
import { scope, type Tensor } from '../../tensor/tensor.js';
import type { ProcessGroup } from '../process-group.js';
import { finishedWork, type Work } from '../work.js';
import { requireLayout } from './layout.js';

/** The group of a world of one: what is reduced over one rank is there already. */
export class SingleGroup implements ProcessGroup {
  readonly rank = 0;
  readonly worldSize = 1;
  readonly sumsInOrder = true;
  readonly readsInPlace = true;
  readonly exchangedBytes = 0;

  allocate(elements: number, dtype: DType): Tensor {
    return zeros([elements], { dtype });
  }

  allReduce(): Work {
    return finishedWork;
  }

  broadcast(_tensor: Tensor, root: number): Work {
    invariant(root === 0, `a world of one has no rank ${root}`);
    return finishedWork;
  }

  allGather(output: Tensor, input: Tensor): Work {
    return copy('allGather', output, input);
  }

  reduceScatter(output: Tensor, inputs: readonly Tensor[]): Work {
    const [input] = inputs;
    invariant(input && inputs.length === 1, 'a world of one reduces one input');
    return input === output ? finishedWork : copy('reduceScatter', output, input);
  }

  allToAll(output: Tensor, input: Tensor): Work {
    return copy('allToAll', output, input);
  }

  send(_tensor: Tensor, peer: number): Work {
    throw noPeer(peer);
  }

  receive(_tensor: Tensor, peer: number): Work {
    throw noPeer(peer);
  }

  barrier(): Work {
    return finishedWork;
  }

  withDeadline(): ProcessGroup {
    return this;
  }

  close(): void {}
}

function noPeer(peer: number): Error {
  return new Error(`Trainyard bug: a world of one has no peer ${peer} to exchange messages with`);
}

function copy(operation: string, output: Tensor, input: Tensor): Work {
  requireLayout(operation, output, input, 1);
  scope(() => {
    noGrad(() => output.view([-1]).copy_(input.view([-1])));
  });
  return finishedWork;
}
