import type { ProcessGroup } from '../comm/process-group.js';
import type { TensorSource } from '../store/safetensors/write.js';
import { fromBytes } from '../tensor/create.js';
import { zeros } from '../tensor/generated/functions.js';
import { scope, type Tensor } from '../tensor/tensor.js';

/** A tensor that no rank may hold alone. */
export interface CollectiveTensor {
  readonly name: string;
  readonly dtype: TensorSource['dtype'];
  readonly shape: readonly number[];
  /** Makes it whole. Every rank must call it at the same time. */
  read(): Tensor;
}

const NOTHING_MORE = -1n;

/**
 * How long rank 0 may take to write one tensor, or to see all of them safe on the disk. The deadline of
 * collectives says how long an answer of a rank may take, and is no measure for disks.
 */
const LONGEST_WRITE_MS = 60 * 60 * 1000;

/**
 * Lets rank 0 write tensors in whatever order its writer asks for them, one at a time: it tells the others which
 * is next, and all make that one whole. Every rank must call it, with the same tensors. However slow the disk is,
 * the other ranks wait; they fail at once when rank 0 is gone.
 *
 * @param write runs on rank 0 alone
 * @returns on rank 0 what `write` returned
 */
export function collectTensors<Result>(
  group: ProcessGroup,
  tensors: readonly CollectiveTensor[],
  write: (sources: readonly TensorSource[]) => Result,
): Result | undefined {
  const patient = group.withDeadline(LONGEST_WRITE_MS);
  try {
    if (group.rank === 0) return serve(patient, tensors, write);
    follow(patient, tensors);
    return undefined;
  } finally {
    patient.close();
  }
}

function serve<Result>(
  group: ProcessGroup,
  tensors: readonly CollectiveTensor[],
  write: (sources: readonly TensorSource[]) => Result,
): Result {
  try {
    return write(
      tensors.map((tensor, index) => ({
        name: tensor.name,
        dtype: tensor.dtype,
        shape: tensor.shape,
        write: (target) => {
          tell(group, BigInt(index));
          scope(() => tensor.read().copyToBytes(target));
        },
      })),
    );
  } finally {
    tell(group, NOTHING_MORE);
  }
}

function follow(group: ProcessGroup, tensors: readonly CollectiveTensor[]): void {
  for (let next = hear(group); next !== NOTHING_MORE; next = hear(group)) {
    scope(() => void tensors[Number(next)]?.read());
  }
}

function tell(group: ProcessGroup, next: bigint): void {
  const bytes = new Uint8Array(BigInt64Array.of(next).buffer);
  scope(() => group.broadcast(fromBytes(bytes, [1], 'int64'), 0).wait());
}

function hear(group: ProcessGroup): bigint {
  return scope(() => {
    const next = zeros([1], { dtype: 'int64' });
    group.broadcast(next, 0).wait();
    return next.toBigInt64Array()[0] ?? NOTHING_MORE;
  });
}
