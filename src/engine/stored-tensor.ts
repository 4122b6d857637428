import type { StoredTensor } from '../store/hugging-face/model-folder.js';
import { fromBytes, viewBytes } from '../tensor/create.js';
import { DTYPES } from '../tensor/dtype.js';
import type { Tensor } from '../tensor/tensor.js';

/** A stored tensor to be read: over the file's own pages where the alignment allows it. */
export function tensorOf({ bytes, shape, dtype }: StoredTensor): Tensor {
  const isAligned = bytes.byteOffset % DTYPES[dtype].bytes === 0;
  return isAligned ? viewBytes(bytes, shape, dtype) : fromBytes(bytes, shape, dtype);
}
