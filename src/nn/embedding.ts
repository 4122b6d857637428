import { fusedEmbedding } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import type { Parameter } from './parameter.js';

/**
 * Rows of a table.
 *
 * @param table [rows, features]
 * @param indices int64, any shape
 * @param paddingIndex the row that gets no gradient (`padding_idx` of torch.nn.Embedding)
 * @returns [...indices, features]
 */
export function embedding(table: Parameter, indices: Tensor, paddingIndex?: number): Tensor {
  return fusedEmbedding(table.value, indices, table.gradient, paddingIndex);
}
