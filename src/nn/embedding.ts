import { fusedEmbedding } from '../tensor/generated/functions.js';
import type { Tensor } from '../tensor/tensor.js';
import { ownRuns } from './divide.js';
import type { Parameter } from './parameter.js';
import type { Division } from './tensor-axis.js';
import { leaveDivision, ownPositions } from './tensor-parallel.js';

/**
 * Rows of a table.
 *
 * @param table [rows, features]
 * @param indices int64, any shape
 * @param paddingIndex the row that gets no gradient (`padding_idx` of torch.nn.Embedding)
 * @returns [...indices, features]
 */
export function embedding(table: Parameter, indices: Tensor, paddingIndex?: number): Tensor {
  const { value, gradient, division } = table;
  if (division?.by === 'vocabulary') return dividedEmbedding(table, division, indices, paddingIndex);
  return fusedEmbedding(value, indices, gradient, paddingIndex);
}

/**
 * Rows of a table of positions, to be added to the residual stream: of the stream's positions that this rank has.
 *
 * @param table [rows, features]
 * @param indices [length] int64
 */
export function positionEmbedding(table: Parameter, indices: Tensor): Tensor {
  return embedding(table, ownPositions(indices, 0, table.division?.axis));
}

/** Each rank looks up the rows that it has; of the others it has zeros. */
function dividedEmbedding(
  { value, gradient }: Parameter,
  division: Division,
  indices: Tensor,
  paddingIndex: number | undefined,
): Tensor {
  const [run = { start: 0, length: 0 }] = ownRuns(division);
  const local = indices.sub(run.start);
  const isElsewhere = local.lt(0).add(local.ge(run.length));
  const padding = paddingIndex === undefined ? undefined : paddingIndex - run.start;
  const isHere = padding !== undefined && padding >= 0 && padding < run.length;
  const rows = fusedEmbedding(
    value,
    local.maskedFill(isElsewhere, 0),
    gradient,
    isHere ? padding : undefined,
  );
  return leaveDivision(rows.maskedFill(isElsewhere.unsqueeze(-1), 0), division.axis);
}
